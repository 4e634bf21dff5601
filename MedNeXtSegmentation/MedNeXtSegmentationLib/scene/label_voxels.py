"""The part of a labelmap that holds labels, in VTK's memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from mednext.geometry import Box
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy


@dataclass(frozen=True, eq=False)
class LabelVoxels:
    """Voxels `box` of a labelmap `(Z, Y, X)`, as `scalars` of an image."""

    box: Box
    scalars: vtk.vtkDataArray


def label_voxels(labelmap: np.ndarray) -> LabelVoxels:
    """Cut out and copy what was found: a fraction of a second for a large labelmap, in any thread."""
    box = _foreground_box(labelmap)
    return LabelVoxels(box, copy_for_vtk(labelmap[box]))


def copy_for_vtk(voxels: np.ndarray) -> vtk.vtkDataArray:
    """A copy of `(Z, Y, X)` as the scalars of an image, made in any thread."""
    scalars = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(voxels.dtype))
    scalars.SetNumberOfTuples(voxels.size)
    # numpy lets other threads run while it copies, VTK does not.
    np.copyto(vtk_to_numpy(scalars).reshape(voxels.shape), voxels)
    return scalars


def _foreground_box(labelmap: np.ndarray) -> Box:
    """The smallest box with every label; the first voxel where nothing was found."""
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(labelmap.any(axis=others))
        bounds.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 1))
    return bounds[0], bounds[1], bounds[2]
