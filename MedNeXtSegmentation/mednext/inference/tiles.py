"""Where tiles lie in an image, and how much of a prediction they leave unfinished; known without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Shape = tuple[int, int, int]


def tile_starts(length: int, side: int, step: float) -> list[int]:
    """Where tiles begin along one axis, as nnU-Net places them.

    Args:
        length: voxels of the image; if it is shorter than the tile, the one tile begins before it.
        side: voxels of the tile.
        step: largest distance of two tiles, as a fraction of `side`.
    """
    if length <= side:
        return [-((side - length) // 2)]
    count = math.ceil((length - side) / max(side * step, 1)) + 1
    distance = (length - side) / (count - 1)
    return [round(distance * index) for index in range(count)]


def count_tiles(shape: Sequence[int], patch: Sequence[int], step: float) -> int:
    """How many tiles an image of this shape needs."""
    return math.prod(len(tile_starts(length, side, step)) for length, side in zip(shape, patch, strict=True))


def overlap(
    corner: Sequence[int], patch: Sequence[int], shape: Sequence[int]
) -> tuple[list[slice], list[slice]]:
    """Where a tile lies within the image, and which part of the tile that is."""
    outside, inside = [], []
    for start, side, length in zip(corner, patch, shape, strict=True):
        low = max(start, 0)
        high = max(low, min(start + side, length))
        outside.append(slice(low, high))
        inside.append(slice(low - start, high - start))
    return outside, inside


@dataclass(frozen=True)
class Unfinished:
    """Rows (planes of the first axis) of a prediction that are in memory at the same time.

    A voxel is finished when no later tile reaches it; tiles go along the rows, line by line. Where a line of
    tiles is done, its rows that are finished make place for those that the next row of tiles reaches.

    Attributes:
        rows: kept of every line: a tile's depth without the part that the next one adds, and the last
            finished row.
        more_rows: the rest of the tiles' depth, kept only for the `lines` under the current line of tiles.
    """

    rows: int
    more_rows: int
    lines: int

    def voxels(self, shape: Shape) -> int:
        """How many voxels of an image of this shape are kept."""
        return (self.rows * shape[1] + self.more_rows * self.lines) * shape[2]


def unfinished(shape: Shape, patch: Shape, step: float) -> Unfinished:
    """The part of an image's prediction that must be kept."""
    lines = min(shape[1], patch[1] + 1)
    distances = [after - before for before, after in pairwise(tile_starts(shape[0], patch[0], step))]
    if not distances:
        return Unfinished(shape[0], 0, lines)
    rows = max(max(patch[0] - distance, distance) + 1 for distance in distances)
    return Unfinished(rows, patch[0] + 1 - rows, lines)


def streaming_order(shape: Sequence[int], patch: Sequence[int], step: float) -> Shape:
    """The order of the axes 0, 1, 2 in which the least of a prediction is kept; the first are the rows."""

    def kept(axes: Shape) -> int:
        ordered = (shape[axes[0]], shape[axes[1]], shape[axes[2]])
        return unfinished(ordered, (patch[axes[0]], patch[axes[1]], patch[axes[2]]), step).voxels(ordered)

    return min(((0, 1, 2), (1, 0, 2), (2, 0, 1)), key=kept)
