"""How a volume is segmented: the options that every way to segment takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import slicer
from mednext.worker.protocol import Options

from .models_folder import located
from .scene.volumes.roi_from_node import roi_from_node


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The keyword arguments of the logic's methods.

    roiNode: limits the work to a box; outside of it nothing is segmented.
    device: "auto", "cpu", "cuda" or "mps".
    folds: which folds of the model to average, by default all.
    mirroring: average over mirrored copies too, as the model allows: slower, a little more accurate.
    segmentationNode: put the result into this node. Segments that the same model made are replaced, with a
        region only there, all others stay as they are; `MedNeXtSegmentationLogic.undo` leads back. By default
        a new node is made.
    replaceCorrected: replace segments of that node that were corrected by hand, too; by default they are left
        alone, and the new ones get none of their voxels.
    labels: names or label values of the structures to make, by default all.
    uncertainty: add a volume too that says how uncertain the result is, 0 to 1; of a sequence in percent.
    precision: "float32", or "bfloat16": faster on processors that have it, with slightly other labels.
    insist: segment also images that look certainly wrong; the result's provenance then says so.
    """

    roiNode: slicer.vtkMRMLMarkupsROINode | None = None
    device: str = "auto"
    folds: Sequence[int] | None = None
    mirroring: bool = True
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None
    labels: Sequence[str | int] | None = None
    uncertainty: bool = False
    precision: str = "float32"
    replaceCorrected: bool = False
    insist: bool = False

    def forEngine(self, model: str, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Options:
        """What the worker is told; the region is told in the space of the volume.

        Raises `GeometryError` when the region has no place there.
        """
        return Options(
            model=located(str(model)),
            device=self.device,
            folds=None if self.folds is None else tuple(self.folds),
            mirroring=self.mirroring,
            roi=roi_from_node(self.roiNode, volumeNode) if self.roiNode else None,
            uncertainty=self.uncertainty,
            precision=self.precision,
            insist=self.insist,
        )
