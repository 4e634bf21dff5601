"""What the module does, for the Python console, for scripts and for the panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import slicer
from mednext.protocol import Options
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .result_place import ResultPlace
from .roi_from_node import roi_from_node
from .run import ProgressCallback, Run
from .volume_from_node import channels_from_nodes
from .worker_client import shared_client

if TYPE_CHECKING:
    from .background_segmentation import BackgroundSegmentation


class MedNeXtSegmentationLogic(ScriptedLoadableModuleLogic):
    """Segments volumes of the scene.

    from MedNeXtSegmentation import MedNeXtSegmentationLogic
    segmentationNode = MedNeXtSegmentationLogic().segment(volumeNode, model="hippocampus")
    """

    def segment(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: str = "hippocampus",
        *,
        roiNode: slicer.vtkMRMLMarkupsROINode | None = None,
        device: str = "auto",
        folds: Sequence[int] | None = None,
        mirroring: bool = True,
        progressCallback: ProgressCallback | None = None,
    ) -> slicer.vtkMRMLSegmentationNode:
        """Segment a volume, wait for it, and return a new segmentation node on the volume's grid.

        volumeNode: the volume, or one for each channel of the model in the model's order. Channels may
            differ in geometry and in linear transforms; the first one gives the grid.
        model: name of an installed model, or the folder of one.
        roiNode: limits the work to a box; outside of it nothing is segmented.
        device: "auto", "cpu", "cuda" or "mps".
        folds: which folds of the model to average, by default all.
        mirroring: average over mirrored copies too, as the model allows: slower, a little more accurate.
        progressCallback: gets a dictionary with stage, done, total and remaining_s.

        Raises a `mednext.errors.MedNeXtError` that tells the user what to do; the scene is then unchanged.
        """
        run, place = _start(volumeNode, model, roiNode, device, folds, mirroring)
        return place.add(run.wait(progressCallback))

    def segmentAsync(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: str = "hippocampus",
        *,
        roiNode: slicer.vtkMRMLMarkupsROINode | None = None,
        device: str = "auto",
        folds: Sequence[int] | None = None,
        mirroring: bool = True,
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[slicer.vtkMRMLSegmentationNode], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
    ) -> BackgroundSegmentation:
        """Begin to segment a volume and return at once; Slicer's event loop does the rest.

            running = logic.segmentAsync(volumeNode, onDone=lambda node: print(node.GetName()))
            running.cancel()

        The arguments are those of `segment`; for the callbacks see `BackgroundSegmentation`. A volume that
        changes meanwhile gets no result.

        Raises what is wrong with the nodes at once; every other error goes to `onError`.
        """
        from .background_segmentation import BackgroundSegmentation  # needs Qt, unlike the rest

        run, place = _start(volumeNode, model, roiNode, device, folds, mirroring)
        return BackgroundSegmentation(run, place.add, onProgress, onDone, onError)


def _start(
    volumeNode: slicer.vtkMRMLScalarVolumeNode | Sequence[slicer.vtkMRMLScalarVolumeNode],
    model: str,
    roiNode: slicer.vtkMRMLMarkupsROINode | None,
    device: str,
    folds: Sequence[int] | None,
    mirroring: bool,
) -> tuple[Run, ResultPlace]:
    """The run that segments, and where its result goes."""
    nodes = list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
    channels = channels_from_nodes(nodes)
    options = Options(
        model=str(model),
        device=device,
        folds=None if folds is None else tuple(folds),
        mirroring=mirroring,
        roi=roi_from_node(roiNode, nodes[0]) if roiNode else None,
    )
    place = ResultPlace(nodes)
    return shared_client().start(channels, options, place.prepare), place
