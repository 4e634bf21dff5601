"""A part of a labelmap in VTK's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def copy_for_vtk(voxels: np.ndarray) -> vtk.vtkDataArray:
    """A copy of `(Z, Y, X)` as the scalars of an image."""
    scalars = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(voxels.dtype))
    for _ in copying_for_vtk(voxels, scalars):
        pass
    return scalars


def copying_for_vtk(
    voxels: np.ndarray,
    scalars: vtk.vtkDataArray,
    convert: Callable[[np.ndarray], np.ndarray] = lambda plane: plane,
) -> Iterator[None]:
    """Fill scalars with `(Z, Y, X)`, each plane converted; comes back before each, so that it can be a long
    way to a large volume without holding up the windows."""
    scalars.SetNumberOfTuples(voxels.size)
    for target, plane in zip(vtk_to_numpy(scalars).reshape(voxels.shape), voxels, strict=True):
        yield
        target[...] = convert(plane)
