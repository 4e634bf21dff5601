"""Segments that overlap, as one labelmap: each combination of segments has a value of its own."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def combined(masks: Iterable[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Number the combinations of segments that occur.

    Args:
        masks: for each segment where it is, bool `shape`; one at a time is held.

    Returns:
        The labelmap, uint16 `shape`, 0 outside of all segments, and for each segment the values of which it
        consists, none for one without voxels.
    """
    labelmap = np.zeros(shape, np.uint16)
    members: list[tuple[int, ...]] = [()]  # of each value, the segments
    for segment, mask in enumerate(masks):
        here = labelmap[mask]
        for value in np.unique(here):
            members.append((*members[value], segment))
            here[here == value] = len(members) - 1
        labelmap[mask] = here
    used = [0, *(int(value) for value in np.unique(labelmap) if value)]
    renumbered = np.zeros(len(members), np.uint16)
    renumbered[used] = np.arange(len(used))
    count = max((segment for value in members for segment in value), default=-1) + 1
    values: list[list[int]] = [[] for _ in range(count)]
    for number, value in enumerate(used):
        for segment in members[value]:
            values[segment].append(number)
    return renumbered[labelmap], [tuple(each) for each in values]
