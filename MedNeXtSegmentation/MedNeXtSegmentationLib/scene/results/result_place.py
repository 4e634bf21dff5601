"""The place of a result in the scene: the segmented volumes, checked for changes, and a segmentation node."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import slicer
import vtk
from mednext.errors import GeometryError, InputError
from mednext.images.geometry import Roi
from mednext.worker.hand_over import HandedOver, Wishes
from vtk.util.numpy_support import get_vtk_array_type

from ..matrices import ijk_to_ras_of, transform_between
from ..result_record import ATTRIBUTE_PREFIX, set_found_labels, set_images, set_uncertainty, set_volumes
from ..segments.corrected_segments import replaceable
from ..segments.label_voxels import LabelVoxels, copying_for_vtk
from ..segments.segmentation_grid import SegmentationGrid, grid_in_segmentation, grid_of_volume
from ..subject_hierarchy import place_beside
from ..volumes.parent_transform import deformation_of
from .color_table import add_color_table
from .segmentation_node import add_segmentation_node, put_into_segmentation_node
from .uncertainty_node import (
    PreparedUncertainty,
    add_uncertainty_node,
    copying_uncertainty,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PreparedResult:
    """A result with its voxels in VTK's memory, which enters the scene in milliseconds."""

    result: HandedOver
    voxels: LabelVoxels
    uncertainty: PreparedUncertainty | None


class ResultPlace:
    """Keeps the state of a run's volumes, so that a result never enters another grid or other voxels.

    channels: the volumes; the first one gives the grid.
    into: the segmentation whose segments of the same model are replaced; None for a new one.
    structures: names or label values of the structures to keep; None for all.
    roi: the region of the run; outside of it `into` keeps all voxels. None for no limit.
    in_percent: keep the uncertainty in percent.
    replace_corrected: replace also segments of `into` that were corrected by hand. Segments corrected during
        the run always stay.

    Raises `OptionError` or `GeometryError` for a segmentation that cannot take the result, and
    `GeometryError` for a volume that is in no scene.
    """

    def __init__(
        self,
        channels: Sequence[slicer.vtkMRMLScalarVolumeNode],
        into: slicer.vtkMRMLSegmentationNode | None = None,
        structures: Sequence[str | int] | None = None,
        roi: Roi | None = None,
        in_percent: bool = False,
        replace_corrected: bool = False,
    ) -> None:
        self._channels = list(channels)
        self._volume = channels[0]
        self._name = self._volume.GetName()
        self._check_present()
        self._volume_grid = _grid(self._volume)
        self._written = [_last_written(channel) for channel in channels]
        self._places = [_place_beside(channel, self._volume) for channel in channels]
        self._deformation = deformation_of(self._volume)
        self._into = into
        self._into_name = into.GetName() if into else ""
        self._structures = structures
        self._roi = roi
        self._in_percent = in_percent
        self._grid = self._result_grid()
        self._replaceable = replaceable(into.GetSegmentation(), replace_corrected) if into else {}

    @property
    def wishes(self) -> Wishes:
        """The wishes of this place, for the worker."""
        grid = None if self._into is None else tuple(self._grid.from_volume.ravel().tolist())
        structures = None if self._structures is None else tuple(self._structures)
        return Wishes(structures, grid, self._in_percent)

    def copying(self, result: HandedOver) -> Generator[None, None, PreparedResult]:
        """Copy a result made by `wishes` into VTK's memory; yields before each plane."""
        kind = get_vtk_array_type(result.voxels.dtype)
        scalars = vtk.vtkDataArray.CreateDataArray(kind)
        yield from copying_for_vtk(result.voxels, scalars)
        uncertainty = yield from copying_uncertainty(result)
        voxels = LabelVoxels(result.box, scalars, result.fingerprints)
        return PreparedResult(result.without_voxels(), voxels, uncertainty)

    def add(self, prepared: PreparedResult) -> slicer.vtkMRMLSegmentationNode:
        """Put the result into the scene: into a new node on the volume's grid, or into the chosen one.

        Raises `GeometryError` when a node was removed or moved in space meanwhile, `InputError` when the
        voxels of a channel changed. The scene is then unchanged.
        """
        self.check_unchanged()
        node = self._put(prepared)
        set_volumes(node, prepared.result.volumes_ml)
        set_found_labels(node, prepared.result.found)
        set_images(node, [channel for channel in self._channels if channel.GetScene()])
        add_color_table(node, prepared.result)
        if prepared.uncertainty:
            add_uncertainty_node(node, self._volume, prepared.uncertainty)
        return node

    def _put(self, prepared: PreparedResult) -> slicer.vtkMRMLSegmentationNode:
        result = prepared.result
        if self._into is not None:
            region = self._roi.box_in(result.geometry) if self._roi else None
            left_alone = put_into_segmentation_node(
                self._into, self._volume, result, self._grid, prepared.voxels, self._replaceable, region
            )
            if left_alone:
                names = ", ".join(left_alone)
                logger.warning("Corrected by hand and left alone: %s.", names)
                self._into.SetAttribute(f"{ATTRIBUTE_PREFIX}left_alone", names)
            set_uncertainty(self._into, None)
            return self._into
        name = f"{self._volume.GetName()} segmentation"
        node = add_segmentation_node(self._volume, result, name, prepared.voxels)
        place_beside(node, self._volume)
        return node

    def _result_grid(self) -> SegmentationGrid:
        if self._into is None:
            return grid_of_volume(self._volume)
        return grid_in_segmentation(self._into, self._volume)

    def check_unchanged(self) -> None:
        """Raise the errors of `add` when anything has changed since the run began."""
        self._check_present()
        if _grid(self._volume) != self._volume_grid:
            raise GeometryError(
                f'The grid of "{self._name}" was changed while it was segmented: segment it again.'
            )
        for channel, written, place in zip(self._channels, self._written, self._places, strict=True):
            if channel.GetScene() and _place_beside(channel, self._volume) != place:
                raise GeometryError(
                    f'"{channel.GetName()}" was moved against "{self._name}" while both were segmented: '
                    "segment them again."
                )
            if _last_written(channel) != written:
                raise InputError(
                    f'The voxels of "{channel.GetName()}" were changed while it was segmented: '
                    "segment it again."
                )
        if deformation_of(self._volume) != self._deformation:
            raise GeometryError(
                f'"{self._name}" was put under a transform that deforms it, or out of one, while it was '
                "segmented: segment it again."
            )
        if self._into is not None and self._into.GetScene() is None:
            raise GeometryError(
                f'The segmentation "{self._into_name}" was removed from the scene: choose a new one.'
            )
        if not self._result_grid().same_as(self._grid):
            raise GeometryError(
                f'"{self._name}" or the segmentation "{self._into_name}" was moved in space meanwhile: '
                "segment it again."
            )

    def _check_present(self) -> None:
        if self._volume.GetScene() is None:
            raise GeometryError(f'"{self._name}" was removed from the scene before its result was there.')


def _last_written(volume: slicer.vtkMRMLScalarVolumeNode) -> int:
    """VTK's time of the last change of the voxels."""
    image = volume.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    return scalars.GetMTime() if scalars else 0


def _place_beside(
    channel: slicer.vtkMRMLScalarVolumeNode, first: slicer.vtkMRMLScalarVolumeNode
) -> tuple[float, ...]:
    """The place of a channel's voxels in the space of the first one, through both parent transforms; empty if
    a transform bends space."""
    to_first = transform_between(channel.GetParentTransformNode(), first.GetParentTransformNode())
    return () if to_first is None else tuple((to_first @ ijk_to_ras_of(channel)).ravel().round(3))


def _grid(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, ...]:
    """Dimensions and IJK to RAS without the parent transform, which a new segmentation will share."""
    image = volume.GetImageData()
    return (*(image.GetDimensions() if image else ()), *ijk_to_ras_of(volume).ravel())
