"""What the module does, for the Python console, for scripts and for the panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import slicer
from mednext.errors import OptionError
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .engine.run import ProgressCallback, Run
from .engine.worker_client import shared_client
from .run_options import RunOptions
from .scene.replaced_segments import can_undo, undo
from .scene.result_place import ResultPlace
from .scene.volume_from_node import channels_from_nodes

if TYPE_CHECKING:
    from .engine.background_segmentation import BackgroundSegmentation


class MedNeXtSegmentationLogic(ScriptedLoadableModuleLogic):
    """Segments volumes of the scene.

    from MedNeXtSegmentation import MedNeXtSegmentationLogic
    segmentationNode = MedNeXtSegmentationLogic().segment(volumeNode, model="hippocampus")

    The keyword arguments `options` of all methods are those of `RunOptions`: `roiNode`, `device`, `folds` ...
    """

    def segment(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: str = "hippocampus",
        *,
        progressCallback: ProgressCallback | None = None,
        **options: Any,
    ) -> slicer.vtkMRMLSegmentationNode:
        """Segment a volume, wait for it, and return the segmentation node: a new one on the volume's grid, or
        the one that the options name.

        volumeNode: the volume, or one for each channel of the model in the model's order. Channels may
            differ in geometry and in linear transforms; the first one gives the grid.
        model: name of an installed model, or the folder of one.
        progressCallback: gets a dictionary with stage, done, total and remaining_s.

        Raises a `mednext.errors.MedNeXtError` that tells the user what to do; the scene is then unchanged.
        """
        run, place = _start(volumeNode, model, RunOptions(**options))
        return place.add(run.wait(progressCallback))

    def segmentAsync(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: str = "hippocampus",
        *,
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[slicer.vtkMRMLSegmentationNode], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
        **options: Any,
    ) -> BackgroundSegmentation:
        """Begin to segment a volume and return at once; Slicer's event loop does the rest.

            running = logic.segmentAsync(volumeNode, onDone=lambda node: print(node.GetName()))
            running.cancel()

        The arguments are those of `segment`; for the callbacks see `BackgroundSegmentation`. A volume that
        changes meanwhile gets no result.

        Raises what is wrong with the nodes at once; every other error goes to `onError`.
        """
        from .engine.background_segmentation import BackgroundSegmentation  # needs Qt, unlike the rest

        run, place = _start(volumeNode, model, RunOptions(**options))
        return BackgroundSegmentation(run, place.add, onProgress, onDone, onError)

    def undo(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """Put the segments back that the last run into this node has replaced; others stay as they are.

        Raises `OptionError` when no run of this session has replaced segments of the node.
        """
        if not can_undo(segmentationNode):
            raise OptionError(f'There is nothing to undo in "{segmentationNode.GetName()}".')
        undo(segmentationNode)


def _start(
    volumeNode: slicer.vtkMRMLScalarVolumeNode | Sequence[slicer.vtkMRMLScalarVolumeNode],
    model: str,
    options: RunOptions,
) -> tuple[Run, ResultPlace]:
    """The run that segments, and where its result goes."""
    nodes = list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
    channels = channels_from_nodes(nodes)
    place = ResultPlace(nodes, options.segmentationNode, options.labels)
    return shared_client().start(channels, options.forEngine(model, nodes[0]), place.prepare), place
