"""A few thousand voxels of an image, enough to tell what values it has, in milliseconds."""

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
        complete: whether these are all voxels.
        finite: whether none of them is NaN or infinite; else the numbers below are those of the others, and 0
            where there are no others.
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

    def same_as(self, other: VoxelSample) -> bool:
        """Whether both are of one image; never where it has one value only, as far as the samples know."""
        return self.distinct > 1 and np.array_equal(self.values, other.values)


def sample_of(array: np.ndarray) -> VoxelSample:
    """The sample of `(Z, Y, X)`: the same number of steps along all axes, as far as they are long enough."""
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
