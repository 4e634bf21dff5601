"""A part of a labelmap in VTK's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk
from mednext.images.geometry import Box
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy


@dataclass(frozen=True, eq=False)
class LabelVoxels:
    """Voxels `box` of a labelmap `(Z, Y, X)`, as `scalars` of an image.

    `fingerprints` holds those of its label values that are known.
    """

    box: Box
    scalars: vtk.vtkDataArray
    fingerprints: Mapping[int, str] = field(default_factory=dict)

    @property
    def array(self) -> np.ndarray:
        """The voxels `(Z, Y, X)`, a view."""
        return vtk_to_numpy(self.scalars).reshape([axis.stop - axis.start for axis in self.box])

    def image(self, ijk_to_ras: vtk.vtkMatrix4x4) -> slicer.vtkOrientedImageData:
        """The voxels as an image in the grid with this matrix."""
        image = slicer.vtkOrientedImageData()
        k, j, i = ((axis.start, axis.stop - 1) for axis in self.box)
        image.SetExtent(*i, *j, *k)
        image.GetPointData().SetScalars(self.scalars)
        image.SetImageToWorldMatrix(ijk_to_ras)
        return image


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
    """Fill scalars with `(Z, Y, X)`, each plane converted. Yields before each plane, so that the windows stay
    alive during a large copy."""
    scalars.SetNumberOfTuples(voxels.size)
    for target, plane in zip(vtk_to_numpy(scalars).reshape(voxels.shape), voxels, strict=True):
        yield
        target[...] = convert(plane)
