"""How a volume is segmented: the options that every way to segment takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import slicer
from mednext.errors import OptionError
from mednext.images.geometry import Roi
from mednext.inference.options import Options
from mednext.model.description import Model
from mednext.remote.address import Server
from mednext.worker.protocol import Order

from .models_folder import located
from .scene.volumes.roi_from_node import roi_from_node
from .server_settings import serverAt


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The keyword arguments of the logic's methods: those of `Options`, and those of the scene.

    roiNode: limits the work to a box, as `roi` does; outside of it nothing is segmented.
    boxNodes: the boxes of "left" and "right", as `boxes` are, instead of finding them in a whole image.
    segmentationNode: put the result into this node. Segments that the same model made are replaced, with a
        region only there, all others stay as they are; `MedNeXtSegmentationLogic.undo` leads back. By default
        a new node is made.
    replaceCorrected: replace segments of that node that were corrected by hand, too; by default they are left
        alone, and the new ones get none of their voxels.
    labels: names or label values of the structures to make, by default all.
    server: let a server of `mednext serve` compute: its address, with the key of the panel or of
        `$MEDNEXT_SERVER_KEY`, or a `mednext.remote.address.Server`. The images leave this computer.

    The uncertainty becomes a volume; of a sequence it is in percent.

    Raises `OptionError` for a value out of its range, and for two regions.
    """

    roiNode: slicer.vtkMRMLMarkupsROINode | None = None
    boxNodes: Mapping[str, slicer.vtkMRMLMarkupsROINode] | None = None
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None
    labels: Sequence[str | int] | None = None
    replaceCorrected: bool = False
    server: Server | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.roi is not None and self.roiNode is not None:
            raise OptionError("Two regions were given, roi and roiNode: give one of them.")
        if self.boxes is not None and self.boxNodes is not None:
            raise OptionError("Boxes were given twice, boxes and boxNodes: give one of them.")
        if self.server is None:
            return
        if self.device != "auto" or self.threads is not None:
            raise OptionError("device and threads are for runs on this computer: a server has its own.")
        if not isinstance(self.server, Server):
            object.__setattr__(self, "server", serverAt(str(self.server)))

    def forEngine(
        self, model: str | Model, volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None
    ) -> Order:
        """The order for the worker, with the region in the space of the volume, or of the world.

        model: its name or folder, or the description of a server's model.

        Raises `GeometryError` when the region has no place there.
        """
        if isinstance(model, Model):
            return Order(model.name, self.optionsIn(volumeNode), model)
        return Order(str(model) if self.server else located(str(model)), self.optionsIn(volumeNode))

    def optionsIn(self, volumeNode: slicer.vtkMRMLScalarVolumeNode | None) -> Options:
        """The engine's options, with the region as in `forEngine`, which has the errors."""
        told = {each.name: getattr(self, each.name) for each in fields(Options)}
        if self.boxNodes is not None:
            told["boxes"] = {side: roi_from_node(box, volumeNode) for side, box in self.boxNodes.items()}
        return Options(**{**told, "roi": self.regionIn(volumeNode)})

    def regionIn(self, volumeNode: slicer.vtkMRMLScalarVolumeNode | None) -> Roi | None:
        """The region in the space of the volume, or of the world. Raises `GeometryError`; see `forEngine`."""
        return roi_from_node(self.roiNode, volumeNode) if self.roiNode else self.roi
