"""Fingerprints of a labelmap's structures, which later reveal a correction by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from .label_boxes import label_boxes

NOTHING = "empty"


def fingerprints(
    labelmap: np.ndarray, values: Sequence[int], first: tuple[int, int, int] = (0, 0, 0)
) -> dict[int, str]:
    """A text for each label value that changes with its voxels.

    Args:
        labelmap: `(Z, Y, X)`, of any extent around its labels.
        first: index `(k, j, i)` of its first voxel in the grid.
    """
    found = dict.fromkeys(values, NOTHING)
    for value, box in label_boxes(labelmap, values).items():
        mask = labelmap[box] == value
        place = [side.start + offset for side, offset in zip(box, first, strict=True)]
        digest = hashlib.blake2b(repr((place, mask.shape)).encode(), digest_size=16)
        digest.update(np.packbits(mask))
        found[value] = digest.hexdigest()
    return found
