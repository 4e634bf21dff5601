"""Combination of labelmaps: old voxels outside of a region with new ones inside, unions, differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
from mednext.images.geometry import Box
from mednext.worker.scene.segment_layers import with_values

from ..matrices import array_to_ras_of
from .label_voxels import LabelVoxels, copy_for_vtk
from .segmentation_grid import SegmentationGrid
from .shared_labelmaps import LABELMAP, voxels_of


def with_kept_voxels(
    old: slicer.vtkSegment, new: LabelVoxels, value: int, grid: SegmentationGrid, region: Box
) -> LabelVoxels | None:
    """Combine the new result inside the region with the old segment outside of it, under one value.

    `region` is a box of the volume `(Z, Y, X)`; a voxel of another grid belongs to it if the nearest voxel of
    the volume does. None when the old segment has no voxels outside.
    """
    kept = _outside(old, grid, region)
    return united([(kept, 1), (new, value)], value) if kept else None


def united(parts: Sequence[tuple[LabelVoxels, int]], value: int = 1) -> LabelVoxels:
    """The union of labelmaps as one value; each part is given with the value to take from it."""
    k, j, i = (
        slice(min(axis.start for axis in axes), max(axis.stop for axis in axes))
        for axes in zip(*(part.box for part, _ in parts), strict=True)
    )
    kind = np.promote_types(np.uint8, np.min_scalar_type(value))
    voxels = np.zeros([axis.stop - axis.start for axis in (k, j, i)], kind)
    for part, its_value in parts:
        z, y, x = (
            slice(axis.start - whole.start, axis.stop - whole.start)
            for axis, whole in zip(part.box, (k, j, i), strict=True)
        )
        np.copyto(voxels[z, y, x], value, where=part.array == its_value)
    return LabelVoxels((k, j, i), copy_for_vtk(voxels))


def without(new: LabelVoxels, taken: Sequence[LabelVoxels]) -> LabelVoxels:
    """A labelmap with background wherever one of the others has a label."""
    voxels = new.array.copy()
    for other in taken:
        common = [
            (max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(new.box, other.box, strict=True)
        ]
        if all(start < stop for start, stop in common):
            inside, theirs = (
                tuple(
                    slice(start - axis.start, stop - axis.start)
                    for (start, stop), axis in zip(common, each.box, strict=True)
                )
                for each in (new, other)
            )
            voxels[inside][other.array[theirs] != 0] = 0
    return LabelVoxels(new.box, copy_for_vtk(voxels))


def placed_segment(segment: slicer.vtkSegment, grid: SegmentationGrid) -> LabelVoxels | None:
    """The voxels of a segment, with the value 1, on the grid; None for a segment without labelmap."""
    image = segment.GetRepresentation(LABELMAP)
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    mask = with_values(voxels_of(image), {segment.GetLabelValue(): 1}, np.dtype(np.uint8))
    to_grid = np.linalg.inv(grid.ijk_to_ras) @ array_to_ras_of(image)
    return SegmentationGrid(np.eye(4), to_grid).place(mask)


def _outside(old: slicer.vtkSegment, grid: SegmentationGrid, region: Box) -> LabelVoxels | None:
    """The voxels of a segment outside of the region, with the value 1, on the grid."""
    placed = placed_segment(old, grid)
    if placed is None:
        return None
    to_volume = np.linalg.inv(grid.from_volume)[:3]
    _k, j, i = np.ogrid[placed.box]
    voxels = placed.array
    for number, plane in enumerate(voxels, start=placed.box[0].start):
        inside = np.ones(plane.shape, dtype=bool)
        for (along_i, along_j, along_k, shift), axis in zip(to_volume, reversed(region), strict=True):
            index = along_i * i[0] + along_j * j[0] + (along_k * number + shift)
            inside &= (index >= axis.start - 0.5) & (index < axis.stop - 0.5)
        plane[inside] = 0
    return placed if voxels.any() else None
