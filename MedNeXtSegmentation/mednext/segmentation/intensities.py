"""Mean and standard deviation of the images within each structure of a result."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..model.description import Channel
from ..model.labels import MAX_LABEL, Label, Region
from ..system.json_reading import numbers_in

INTENSITIES = "intensities"
"""The entry of a result's provenance that holds them."""

_COLUMN = re.compile(r".+ (?:mean|SD) of .+ \((?:HU|a\.u\.)\)", re.DOTALL)


def is_intensity(column: str) -> bool:
    """Whether a column of a report has the name of a mean or standard deviation."""
    return _COLUMN.fullmatch(column) is not None


@dataclass(frozen=True)
class _Sample:
    """Number, mean, and sum of the squared distances from the mean."""

    count: int
    mean: float
    squares: float

    def joined(self, other: _Sample) -> _Sample:
        """The same of both sets of values together."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * other.count / count
        return _Sample(
            count, mean, self.squares + other.squares + apart**2 * self.count * other.count / count
        )


def intensities(
    labelmap: np.ndarray,
    images: np.ndarray,
    channels: Sequence[Channel],
    labels: Sequence[Label],
    regions: Sequence[Region] = (),
) -> dict[str, float]:
    """Mean and standard deviation of each structure in each channel, by the names of their columns.

    These are "liver mean of CT (HU)" and "liver SD of CT (HU)"; channels other than CT have arbitrary units,
    "a.u.". A region is all voxels of its labels, whatever other regions share them. The standard deviation is
    that of a sample, as in Slicer's Segment Statistics. A structure without voxels has no entries, one with a
    single voxel no standard deviation.

    Args:
        labelmap: `(Z, Y, X)`.
        images: `(C, Z, Y, X)` on the same grid, in the units of the images.
    """
    found: dict[str, float] = {}
    for channel, image in zip(channels, images, strict=True):
        samples = _samples(labelmap, image)
        sets = {region.name: region.labels for region in regions}
        sets |= {label.name: (label.value,) for label in labels}
        unit = "HU" if channel.modality == "CT" else "a.u."
        for name, values in sets.items():
            whole = _Sample(0, 0.0, 0.0)
            for value in values:
                whole = whole.joined(samples[value])
            if whole.count:
                found[f"{name} mean of {channel.name} ({unit})"] = whole.mean
            if whole.count > 1:
                found[f"{name} SD of {channel.name} ({unit})"] = math.sqrt(whole.squares / (whole.count - 1))
    return found


def to_words(found: Mapping[str, float]) -> str:
    """The text for a result's provenance."""
    return json.dumps({name: float(f"{value:.6g}") for name, value in found.items()}, ensure_ascii=False)


def of_structures(known: Mapping[str, str], names: Sequence[str]) -> dict[str, float]:
    """The intensities in a provenance, of these structures; none where they were not measured."""
    return {
        column: value
        for column, value in numbers_in(known.get(INTENSITIES, "")).items()
        if any(column.startswith((f"{name} mean of ", f"{name} SD of ")) for name in names)
    }


def _samples(labelmap: np.ndarray, image: np.ndarray) -> list[_Sample]:
    """The sample of each label value; plane by plane, since a weighted count takes 16 bytes a voxel."""
    size = MAX_LABEL + 1
    counts, sums, squares = (np.zeros(size) for _ in range(3))
    planes = [(plane.ravel(), values.ravel()) for plane, values in zip(labelmap, image, strict=True)]
    for plane, values in planes:
        counts += np.bincount(plane, minlength=size)
        sums += np.bincount(plane, values, minlength=size)
    means = sums / np.maximum(counts, 1)
    for plane, values in planes:
        squares += np.bincount(plane, (values - means[plane]) ** 2, minlength=size)
    numbers = zip(counts.tolist(), means.tolist(), squares.tolist(), strict=True)
    return [_Sample(int(count), mean, square) for count, mean, square in numbers]
