"""Labelmaps that segments share, copied from Slicer's scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...model.labels import MAX_LABEL


@dataclass(frozen=True, eq=False)
class SegmentLayer:
    """A copy of a labelmap.

    `voxels` are `(Z, Y, X)`; `ijk_to_ras`, 4x4, leads from their indices to the segmentation's own space;
    `values` has the label value of each of its segments, by segment ID.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray
    values: Mapping[str, int]


def with_values(voxels: np.ndarray, values: Mapping[int, int], dtype: np.dtype) -> np.ndarray:
    """The labelmap with the new value for each key of `values`, and 0 for all other values."""
    low, high = int(voxels.min(initial=0)), int(voxels.max(initial=0))
    if voxels.dtype.kind not in "ui" or low < 0 or high > MAX_LABEL:  # an imported labelmap may have any type
        changed = np.zeros(voxels.shape, dtype)
        for value, new in values.items():
            changed[voxels == value] = new
        return changed
    lookup = np.zeros(high + 1, dtype)
    for value, new in values.items():
        if 0 <= value <= high:
            lookup[value] = new
    return lookup[voxels]
