"""Slide a patch over an image, and average the predictions of each voxel.

The tiles are nnU-Net's, and so are the weights: a Gaussian with a standard deviation of an eighth of the
patch. Both are products of one factor per axis, and so is the sum of all weights at a voxel: it is known
before the first tile, each tile is weighted by its share of it, and nothing is left to divide by.

Voxels that no later tile reaches are handed out and forgotten, so that memory grows with half a patch's depth
and not with the image's (see `tiles.Unfinished`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from .accumulation import Adding
from .device_transfer import Upload
from .tile_sums import Target
from .tiles import Shape, overlap, tile_starts, unfinished

_SIGMA = 1 / 8  # of the patch's side


@dataclass(frozen=True)
class Block:
    """A finished part of a prediction: some rows, and of these some lines.

    Attributes:
        row, line: of the image that `values` begins with.
        values: `(K, rows, lines, X)`. It is only valid until the next block is asked for.
    """

    row: int
    line: int
    values: Tensor


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


def slide(
    image: Tensor,
    predict: Callable[[Iterator[Tensor]], Iterator[Tensor]],
    outputs: int,
    patch: Shape,
    step: float,
    device: torch.device,
    axes: Shape = (0, 1, 2),
) -> Iterator[Block]:
    """Predict an image tile by tile and yield finished blocks, row by row and in these line by line.

    Blocks of the same rows follow each other until all lines are done. Each begins with the last line, or
    row, of the one before, since interpolation needs both neighbours.

    Args:
        image: `(C, Z, Y, X)`.
        predict: maps tiles `(C, *patch)`, zero outside of the image, to `(outputs, *patch)` each, in their
            order; it may take several before it returns the first. Its results are overwritten.
        outputs: channels of the prediction.
        patch: voxels of a tile.
        step: largest distance of two tiles as a fraction of the patch.
        device: where the sums are kept, in fp32, and the image, which tiles are cut from.
        axes: order of z, y, x (0, 1, 2) in which the image is worked through; the blocks have it, too.
    """
    forward = (0, *(axis + 1 for axis in axes))
    back = tuple(forward.index(axis) for axis in range(4))
    image, patch = image.permute(forward), (patch[axes[0]], patch[axes[1]], patch[axes[2]])
    z, y, x = image.shape[1:]
    upload = Upload(image, device)  # by rows: on a card, tile by tile would take as long as the network
    starts = [tile_starts(length, side, step) for length, side in zip((z, y, x), patch, strict=True)]
    shares = [
        [share.to(device) for share in tile_shares(length, side, begin)]
        for length, side, begin in zip((z, y, x), patch, starts, strict=True)
    ]
    make_sums = partial(_Sums, outputs, (z, y, x), patch, step, device)
    # On the CPU the first tile needs the most memory, for the comparison of formulations; on a device the
    # networks take as many tiles at once as the free memory allows.
    sums = None if device.type == "cpu" else make_sums()
    corners = product(starts[0], starts[1], starts[2])
    tiles = (_cut(upload.up_to(corner[0] + patch[0]), corner, patch).permute(back) for corner in corners)
    predictions = predict(tiles)
    for row, start in enumerate(starts[0]):
        next_start = starts[0][row + 1] if row + 1 < len(starts[0]) else z
        for line, top in enumerate(starts[1]):
            for column, left in enumerate(starts[2]):
                share = (shares[0][row], shares[1][line], shares[2][column])
                tile = next(predictions).permute(forward).to(device)
                sums = sums or make_sums()
                sums.add(tile, (start, top, left), share)
            done = starts[1][line + 1] if line + 1 < len(starts[1]) else y
            assert sums is not None
            yield sums.finished(next_start, done)
            sums.forget(next_start, done)
    assert sums is not None
    if sums.row + 1 < z:  # the last row of tiles finishes more rows than there is room for
        yield sums.finished(z, y)


class _Sums:
    """The sums over all tiles so far, where they are not finished, and the last finished row and line.

    Attributes:
        row: of the image that the sums begin with.
    """

    def __init__(self, outputs: int, shape: Shape, patch: Shape, step: float, device: torch.device) -> None:
        size = unfinished(shape, patch, step)
        self._shape = shape
        self._adding = Adding(device)
        self._sums = torch.zeros(outputs, size.rows, *shape[1:], device=device)
        self._more = torch.zeros(outputs, size.more_rows, size.lines, shape[2], device=device)
        self.row = 0
        # The line of the image that `_more` begins with; earlier ones have moved on to the next rows.
        self._line = 0

    def add(self, tile: Tensor, corner: Shape, shares: Sequence[Tensor]) -> None:
        """Add a tile `(outputs, *patch)` whose first voxel is at `corner`. Overwrites the tile."""
        z, y, x = corner
        targets = (
            Target(self._sums, (z - self.row, y, x)),
            Target(self._more, (z - self.row - self._sums.shape[1], y - self._line, x)),
        )
        self._adding.add_tile(targets, tile, shares)

    def finished(self, row: int, line: int) -> Block:
        """The finished block if the next tiles begin at this row and line, as far as there is room."""
        rows = min(row - self.row, self._sums.shape[1])
        return Block(self.row, self._line, self._sums[:, :rows, self._line : line])

    def forget(self, row: int, line: int) -> None:
        """Forget the block that `finished` returned, except for the last row and line."""
        height = self._sums.shape[1]
        drop = min(row - self.row, height) - 1
        last = line == self._shape[1]
        lines = slice(self._line, line if last else line - 1)
        count = lines.stop - lines.start
        for sums, more in zip(self._sums, self._more, strict=True):  # one at a time: the copies stay small
            sums[: height - drop, lines] = sums[drop:, lines].clone()
            sums[height - drop :, lines] = 0
            extra = more[:drop, :count]
            sums[height - drop : height - drop + len(extra), lines] = extra
            more[:, : more.shape[1] - count] = more[:, count:].clone()
            more[:, more.shape[1] - count :] = 0
        self._line = 0 if last else lines.stop
        if last:
            self.row += drop


def _cut(image: Tensor, corner: Shape, patch: Shape) -> Tensor:
    """The tile `(C, *patch)` of the image, zero where it reaches beyond."""
    outside, inside = overlap(corner, patch, image.shape[1:])
    if all(side.stop - side.start == length for side, length in zip(inside, patch, strict=True)):
        return image[(slice(None), *outside)]
    tile = image.new_zeros(image.shape[0], *patch)
    tile[(slice(None), *inside)] = image[(slice(None), *outside)]
    return tile
