"""Sliding a patch over an image, and the mean of what was said about each voxel.

The tiles are nnU-Net's, and so are the weights: a Gaussian with a standard deviation of an eighth of the
patch. Both are products of one factor per axis, and so is the sum of all weights at a voxel: it is known
before the first tile, each tile is weighted by its share of it, and nothing is left to divide by.

Rows (planes of the first axis) that no later tile reaches are handed out and forgotten, so that memory grows
with the patch's depth and not with the image's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

_SIGMA = 1 / 8  # of the patch's side

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Rows:
    """Finished rows of a prediction.

    Attributes:
        start: row of the image that `values` begins with.
        values: `(K, rows, Y, X)`. It is only valid until the next rows are asked for.
    """

    start: int
    values: Tensor


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


def tile_shares(length: int, side: int, starts: Sequence[int]) -> list[Tensor]:
    """Along one axis, the share of each tile in the weighted mean at each of its voxels, `(side,)` each.

    The shares of all tiles that cover a voxel add up to one.
    """
    centre = torch.arange(side, dtype=torch.float64) - side // 2
    gaussian = torch.exp(-0.5 * (centre / (side * _SIGMA)) ** 2)
    before = max(0, -starts[0])
    total = torch.zeros(max(length, side), dtype=torch.float64)
    for start in starts:
        total[start + before : start + before + side] += gaussian
    return [(gaussian / total[start + before : start + before + side]).float() for start in starts]


def count_tiles(shape: Sequence[int], patch: Sequence[int], step: float) -> int:
    """How many tiles an image of this shape needs."""
    return math.prod(len(tile_starts(length, side, step)) for length, side in zip(shape, patch, strict=True))


def window_shape(shape: Shape, patch: Shape) -> Shape:
    """The part of a prediction that is kept in memory: a patch deep, and the last finished row."""
    return min(shape[0], patch[0] + 1), shape[1], shape[2]


def slide(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    outputs: int,
    patch: Shape,
    step: float,
    device: torch.device,
) -> Iterator[Rows]:
    """Predict an image tile by tile and hand out its rows as they are finished, first to last.

    Each but the first begins with the last row of the one before, since whoever interpolates between rows
    needs both neighbours.

    Args:
        image: `(C, Z, Y, X)`.
        predict: maps a tile `(C, *patch)`, zero outside of the image, to `(outputs, *patch)`; its answer is
            overwritten.
        outputs: channels of the prediction.
        patch: voxels of a tile.
        step: largest distance of two tiles as a fraction of the patch.
        device: where the sums are kept, in fp32, and the image, which tiles are cut from.
    """
    z, y, x = image.shape[1:]
    image = image.to(device)  # all at once: on a card, tile by tile would take as long as the network
    starts = [tile_starts(length, side, step) for length, side in zip((z, y, x), patch, strict=True)]
    shares = [
        [share.to(device) for share in tile_shares(length, side, begin)]
        for length, side, begin in zip((z, y, x), patch, starts, strict=True)
    ]
    window = torch.zeros(outputs, *window_shape((z, y, x), patch), device=device)
    first = 0  # row of the image that the window begins with
    for index, start in enumerate(starts[0]):
        for column, line in product(range(len(starts[1])), range(len(starts[2]))):
            corner = (start, starts[1][column], starts[2][line])
            weight = shares[0][index][:, None, None] * shares[1][column][:, None] * shares[2][line]
            prediction = predict(_cut(image, corner, patch)).to(device)
            _add(window, prediction.mul_(weight), (start - first, *corner[1:]), (z - first, y, x))
        finished = starts[0][index + 1] if index + 1 < len(starts[0]) else z
        yield Rows(first, window[:, : finished - first])
        _advance(window, finished - 1 - first)
        first = finished - 1


def _cut(image: Tensor, corner: Shape, patch: Shape) -> Tensor:
    """The tile `(C, *patch)` of the image, zero where it reaches beyond."""
    outside, inside = _overlap(corner, patch, image.shape[1:])
    if all(side.stop - side.start == length for side, length in zip(inside, patch, strict=True)):
        return image[(slice(None), *outside)]
    tile = image.new_zeros(image.shape[0], *patch)
    tile[(slice(None), *inside)] = image[(slice(None), *outside)]
    return tile


def _add(window: Tensor, tile: Tensor, corner: Shape, shape: Shape) -> None:
    outside, inside = _overlap(corner, tile.shape[1:], shape)
    window[(slice(None), *outside)] += tile[(slice(None), *inside)]


def _overlap(
    corner: Sequence[int], patch: Sequence[int], shape: Sequence[int]
) -> tuple[list[slice], list[slice]]:
    """Where a tile lies within the image, and which part of the tile that is."""
    outside, inside = [], []
    for start, side, length in zip(corner, patch, shape, strict=True):
        low, high = max(start, 0), min(start + side, length)
        outside.append(slice(low, high))
        inside.append(slice(low - start, high - start))
    return outside, inside


def _advance(window: Tensor, rows: int) -> None:
    """Drop the first rows, move the others to the front, and clear what becomes free."""
    kept = window.shape[1] - rows
    for channel in window:  # one at a time: the copy that overlapping memory needs stays small
        channel[:kept] = channel[rows:].clone()
        channel[kept:] = 0
