"""Labelmaps that segments share, copied from Slicer's scene, and their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...model.labels import MAX_LABEL
from ..voxel_files import mapped, writing


@dataclass(frozen=True, eq=False)
class SegmentLayer:
    """A copy of a labelmap.

    `voxels` are `(Z, Y, X)`; `ijk_to_ras`, 4x4, leads from their indices to the segmentation's own space;
    `values` has the label value of each of its segments, by segment ID.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray
    values: Mapping[str, int]


def writing_layers(folder: Path, layers: Sequence[SegmentLayer]) -> Iterator[None]:
    """Write the voxels; yield before each plane. Raises OSError."""
    for number, layer in enumerate(layers):
        yield from writing(_file(folder, number), layer.voxels)


def layers_to_json(layers: Sequence[SegmentLayer]) -> list[dict[str, Any]]:
    """All but the voxels."""
    return [{"ijk_to_ras": each.ijk_to_ras.tolist(), "values": dict(each.values)} for each in layers]


def read_layers(folder: Path, told: Sequence[Mapping[str, Any]]) -> list[SegmentLayer]:
    """The inverse of `writing_layers` and `layers_to_json`; voxels are mapped from their files."""
    return [
        SegmentLayer(mapped(_file(folder, number)), np.array(each["ijk_to_ras"]), each["values"])
        for number, each in enumerate(told)
    ]


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


def _file(folder: Path, number: int) -> Path:
    return folder / f"layer_{number}.npy"
