"""A sample of a few thousand voxels, which shows the values of an image in milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_MOST_VOXELS = 60_000


@dataclass(frozen=True, eq=False)
class VoxelSample:
    """Every n-th voxel along each axis.

    Attributes:
        values: `(n,)` in the array's order, its own type.
        complete: True if these are all voxels.
        finite: True if none of them is NaN or infinite; else the numbers below are those of the others, and 0
            if there are no others.
        low, high: smallest and largest.
        few, many: the first and the ninety-ninth percentile.
        whole: True if all are whole numbers.
        distinct: the number of different values.
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

    def same_as(self, other: VoxelSample) -> bool:
        """True if both samples are of one image; False for samples with one value only."""
        return self.distinct > 1 and np.array_equal(self.values, other.values)


def sample_of(array: np.ndarray) -> VoxelSample:
    """Sample an array `(Z, Y, X)`: the same number of voxels along all axes, or all of a short one."""
    step = max(1, math.ceil((array.size / _MOST_VOXELS) ** (1 / 3)))
    values = array[tuple(slice(min(step // 2, side - 1), None, step) for side in array.shape)].ravel()
    complete = values.size == array.size
    numbers = values[np.isfinite(values)]
    finite = numbers.size == values.size
    if not numbers.size:
        return VoxelSample(values, complete, finite)
    low, few, many, high = np.percentile(numbers, (0, 1, 99, 100)).tolist()
    distinct = np.unique(numbers)
    whole = bool(np.issubdtype(values.dtype, np.integer) or (distinct == np.round(distinct)).all())
    return VoxelSample(values, complete, finite, low, high, few, many, whole, len(distinct))
