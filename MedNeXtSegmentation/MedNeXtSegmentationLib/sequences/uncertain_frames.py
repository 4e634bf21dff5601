"""The uncertainty of every frame: a sequence of volumes beside the segmentations, in the same browser.

Its voxels are bytes, in percent; floats from 0 to 1 would take four times the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from mednext.worker.hand_over import PERCENT

from ..scene.result_record import set_uncertainty
from ..scene.results.uncertainty_node import (
    NamedPlace,
    PreparedUncertainty,
    fill_uncertainty,
    new_uncertainty,
    remember_places_of_frames,
    shown_value,
)
from ..scene.subject_hierarchy import place_beside


class UncertainFrames:
    """Collects the uncertainty of the frames outside of the scene.

    sequence: an empty one with the index of the images.
    """

    def __init__(self, sequence: slicer.vtkMRMLSequenceNode) -> None:
        self._sequence = sequence
        self._places: dict[str, Sequence[NamedPlace]] = {}
        self._largest = 0.0

    def take(self, value: str, volume: slicer.vtkMRMLScalarVolumeNode, prepared: PreparedUncertainty) -> None:
        """Add the uncertainty, in percent, of the frame at an index value, on the grid of its image."""
        node = slicer.vtkMRMLScalarVolumeNode()
        fill_uncertainty(node, volume, prepared)
        self._sequence.SetDataNodeAtValue(node, value)
        self._places[value] = prepared.places
        self._largest = max(self._largest, prepared.largest)

    def add(
        self,
        browser: slicer.vtkMRMLSequenceBrowserNode,
        segmentation: slicer.vtkMRMLSegmentationNode,
        image: slicer.vtkMRMLScalarVolumeNode,
    ) -> None:
        """Put the sequence into the scene without showing it, if there is any uncertainty.

        segmentation, image: the nodes that show the present frame of the results and of the images.
        """
        if not self._places:
            return
        scene = browser.GetScene()
        name = scene.GenerateUniqueName(f"{browser.GetMasterSequenceNode().GetName()} uncertainty in percent")
        self._sequence.SetName(name)
        remember_places_of_frames(self._sequence, self._places)
        scene.AddNode(self._sequence)
        shown = self._places.get(shown_value(browser), [])
        # Not the browser's proxy: its display would read all voxels to choose its window.
        proxy = new_uncertainty(scene, name, self._largest, shown, PERCENT)
        browser.AddSynchronizedSequenceNode(self._sequence)
        browser.AddProxyNode(proxy, self._sequence, False)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        proxy.SetName(name)
        set_uncertainty(segmentation, proxy)
        if image.GetScene() is scene:
            proxy.SetAndObserveTransformNodeID(image.GetTransformNodeID())
            place_beside(proxy, image)
