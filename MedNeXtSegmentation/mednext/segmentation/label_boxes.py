"""The box that each label of a labelmap fills."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images.geometry import Box


def label_boxes(labels: np.ndarray, values: Sequence[int]) -> dict[int, Box]:
    """The smallest box around each of these labels that occurs in `(Z, Y, X)`.

    One pass, plane by plane: a plane stays in the caches for all labels.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for z, plane in enumerate(labels):
        if not plane.any():
            continue
        for value in values:
            mask = plane == value
            if mask.any():
                sides = [(z, z + 1), *(_first_to_last(mask.any(axis=axis)) for axis in (1, 0))]
                before = found.get(value, sides)
                found[value] = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(before, sides, strict=True)]
    return {value: (slice(*z), slice(*y), slice(*x)) for value, (z, y, x) in found.items()}


def _first_to_last(hits: np.ndarray) -> tuple[int, int]:
    where = np.flatnonzero(hits)
    return int(where[0]), int(where[-1]) + 1
