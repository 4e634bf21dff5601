"""A few thousand voxels of a volume, enough to tell what values it has, in milliseconds."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

_MOST_VOXELS = 60_000
_KEPT = 32

_samples: OrderedDict[str, tuple[int, VoxelSample]] = OrderedDict()


@dataclass(frozen=True, eq=False)
class VoxelSample:
    """Every n-th voxel along each axis.

    Attributes:
        values: `(n,)` in the volume's order, its own type.
        complete: whether these are all voxels.
        finite: whether none of them is NaN or infinite; if one is, the numbers below are 0.
        low, high: smallest and largest.
        few, many: the values that one in a hundred voxels is below, and above.
        whole: whether all are whole numbers.
        distinct: how many different values there are.
    """

    values: np.ndarray
    complete: bool
    finite: bool
    low: float = 0.0
    high: float = 0.0
    few: float = 0.0
    many: float = 0.0
    whole: bool = False
    distinct: int = 0


def voxel_sample(volume: slicer.vtkMRMLScalarVolumeNode) -> VoxelSample:
    """The sample of a volume that has voxels; remembered until they are changed."""
    image = volume.GetImageData()
    scalars = image.GetPointData().GetScalars()
    written = max(image.GetMTime(), scalars.GetMTime())  # VTK counts them up for all objects together
    known = _samples.get(volume.GetID())
    if known and known[0] == written:
        _samples.move_to_end(volume.GetID())
        return known[1]
    sample = _sample(vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions()))))
    _samples[volume.GetID()] = written, sample
    while len(_samples) > _KEPT:
        _samples.popitem(last=False)
    return sample


def _sample(array: np.ndarray) -> VoxelSample:
    """Of `(Z, Y, X)`; the same number of steps along all axes, as far as they are long enough."""
    step = max(1, math.ceil((array.size / _MOST_VOXELS) ** (1 / 3)))
    values = array[tuple(slice(min(step // 2, side - 1), None, step) for side in array.shape)].ravel()
    complete = values.size == array.size
    if not np.isfinite(values).all():
        return VoxelSample(values, complete, finite=False)
    low, few, many, high = np.percentile(values, (0, 1, 99, 100)).tolist()
    distinct = np.unique(values)
    whole = bool(np.issubdtype(values.dtype, np.integer) or (distinct == np.round(distinct)).all())
    return VoxelSample(values, complete, True, low, high, few, many, whole, len(distinct))
