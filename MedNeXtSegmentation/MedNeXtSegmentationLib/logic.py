"""What the module does, for the Python console, for scripts and for the panel."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from mednext.protocol import Options
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .roi_from_node import roi_from_node
from .run import ProgressCallback
from .segmentation_node import add_segmentation_node
from .subject_hierarchy import place_beside
from .volume_from_node import channels_from_nodes
from .worker_client import shared_client


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
        nodes = list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
        channels = channels_from_nodes(nodes)
        options = Options(
            model=str(model),
            device=device,
            folds=None if folds is None else tuple(folds),
            mirroring=mirroring,
            roi=roi_from_node(roiNode, nodes[0]) if roiNode else None,
        )
        segmentation = shared_client().start(channels, options).wait(progressCallback)
        node = add_segmentation_node(nodes[0], segmentation, f"{nodes[0].GetName()} segmentation")
        place_beside(node, nodes[0])
        return node
