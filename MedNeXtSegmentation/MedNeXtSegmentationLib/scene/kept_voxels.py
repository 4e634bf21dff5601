"""What stays of a segment when a run was limited to a region: its voxels outside of that."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from mednext.geometry import Box
from mednext.segment_layers import with_values
from vtk.util.numpy_support import vtk_to_numpy

from .label_voxels import LabelVoxels, copy_for_vtk
from .result_grid import ResultGrid
from .segment_layers import LABELMAP, voxels_of


def with_kept_voxels(
    old: slicer.vtkSegment, new: LabelVoxels, value: int, grid: ResultGrid, region: Box
) -> LabelVoxels | None:
    """The voxels with this value: of the new result in the region, of the old segment elsewhere.

    `region` is a box of the volume `(Z, Y, X)`; a voxel of another grid belongs to it if the nearest voxel of
    the volume does. None when nothing of the old segment lies outside.
    """
    kept = _outside(old, grid, region)
    if kept is None:
        return None
    k, j, i = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(kept.box, new.box, strict=True)
    )
    voxels = np.zeros([axis.stop - axis.start for axis in (k, j, i)], _array(new).dtype)
    for part, its_value in ((kept, 1), (new, value)):
        z, y, x = (
            slice(axis.start - whole.start, axis.stop - whole.start)
            for axis, whole in zip(part.box, (k, j, i), strict=True)
        )
        np.copyto(voxels[z, y, x], value, where=_array(part) == its_value)
    return LabelVoxels((k, j, i), copy_for_vtk(voxels))


def _outside(old: slicer.vtkSegment, grid: ResultGrid, region: Box) -> LabelVoxels | None:
    """The voxels of a segment outside of the region, with the value 1, on the grid."""
    image = old.GetRepresentation(LABELMAP)
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    mask = with_values(voxels_of(image), {old.GetLabelValue(): 1}, np.dtype(np.uint8))
    placed = ResultGrid(np.eye(4), _to_grid(image, grid)).place(mask)
    to_volume = np.linalg.inv(grid.from_volume)[:3]
    _k, j, i = np.ogrid[placed.box]
    voxels = _array(placed)
    for number, plane in enumerate(voxels, start=placed.box[0].start):
        inside = np.ones(plane.shape, dtype=bool)
        for (along_i, along_j, along_k, shift), axis in zip(to_volume, reversed(region), strict=True):
            index = along_i * i[0] + along_j * j[0] + (along_k * number + shift)
            inside &= (index >= axis.start - 0.5) & (index < axis.stop - 0.5)
        plane[inside] = 0
    return placed if voxels.any() else None


def _to_grid(image: slicer.vtkOrientedImageData, grid: ResultGrid) -> np.ndarray:
    """The 4x4 matrix from the indices of an image's array to those of the grid."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_grid = np.linalg.inv(grid.ijk_to_ras) @ slicer.util.arrayFromVTKMatrix(matrix)
    to_grid[:3, 3] += to_grid[:3, :3] @ image.GetExtent()[::2]
    return to_grid


def _array(voxels: LabelVoxels) -> np.ndarray:
    return vtk_to_numpy(voxels.scalars).reshape([axis.stop - axis.start for axis in voxels.box])
