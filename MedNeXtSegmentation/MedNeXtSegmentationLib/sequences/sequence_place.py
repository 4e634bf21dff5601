"""The place of a sequence's results in the scene: a new sequence of segmentations in the same browser."""

from __future__ import annotations

import slicer
from mednext.errors import GeometryError

from ..scene.result_record import set_volumes
from ..scene.results.result_place import PreparedResult
from ..scene.results.segmentation_node import fill_segmentation_node
from ..scene.segments.region_segments import show_as_outlines
from ..scene.subject_hierarchy import place_beside
from .frames import Frames
from .uncertain_frames import UncertainFrames


class SequencePlace:
    """Collects the results outside of the scene, and then adds all of them or none."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._name = f"{frames.master.GetName()} segmentation"
        self._sequence = _sequenceLike(frames.master)
        self._uncertain = UncertainFrames(_sequenceLike(frames.master))

    def take(self, index: int, prepared: PreparedResult) -> None:
        """Take the result of a frame. Raises `InputError` when the frame was removed meanwhile."""
        volume, value = self._frames.volumes(index)[0], self._frames.values[index]
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(self._name)
        fill_segmentation_node(node, volume, prepared.result, prepared.voxels)
        set_volumes(node, prepared.result.volumes_ml)
        self._sequence.SetDataNodeAtValue(node, value)
        if prepared.uncertainty:
            self._uncertain.take(value, volume, prepared.uncertainty)

    def add(self) -> slicer.vtkMRMLSequenceNode:
        """Add segmentations and uncertainties to the scene, as sequences in the browser of the images.

        The browser saves changes, so that corrections of a frame stay. Raises `GeometryError` when the
        sequence of the images was removed meanwhile.
        """
        master, scene = self._frames.master, self._frames.master.GetScene()
        if scene is None:
            raise GeometryError(f'The sequence "{master.GetName()}" was removed while it was segmented.')
        self._sequence.SetName(scene.GenerateUniqueName(self._name))
        scene.AddNode(self._sequence)
        browser = self._frames.browser or _newBrowser(scene, master)
        browser.AddSynchronizedSequenceNode(self._sequence)
        browser.SetSaveChanges(self._sequence, True)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        proxy = browser.GetProxyNode(self._sequence)
        self._dress(proxy)
        self._uncertain.add(browser, proxy, self._frames.shown)
        return self._sequence

    def _dress(self, proxy: slicer.vtkMRMLSegmentationNode) -> None:
        """Place the shown segmentation beside its volume, and display it."""
        shown = self._frames.shown
        proxy.SetName(self._sequence.GetName())
        if proxy.GetDisplayNode() is None:
            proxy.CreateDefaultDisplayNodes()
        show_as_outlines(proxy)
        if shown.GetScene() is proxy.GetScene():
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            proxy.SetNodeReferenceID(role, shown.GetID())
            proxy.SetAndObserveTransformNodeID(shown.GetTransformNodeID())
            place_beside(proxy, shown)


def shownSegmentation(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSegmentationNode | None:
    """The node that shows the current frame of a sequence of segmentations."""
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    return browser.GetProxyNode(sequence) if browser else None


def _newBrowser(
    scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLSequenceNode
) -> slicer.vtkMRMLSequenceBrowserNode:
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser")
    browser.AddSynchronizedSequenceNode(sequence)
    return browser


def _sequenceLike(other: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceNode:
    """An empty sequence with the same index, in no scene."""
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetIndexName(other.GetIndexName())
    sequence.SetIndexUnit(other.GetIndexUnit())
    sequence.SetIndexType(other.GetIndexType())
    sequence.SetNumericIndexValueTolerance(other.GetNumericIndexValueTolerance())
    return sequence
