"""Tile sizes, the work of one program of a kernel: the best first, then smaller ones for smaller cards.

A tile's channels are contiguous, eight or four to a thread. The sizes come from the compiler's reports
(registers, spills, shared memory) for compute capability 8.0 to 9.0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from triton import cdiv, next_power_of_2

Shape = tuple[int, int, int]

# Triton's interpreter runs one program after the other on the CPU: few large programs are fastest there.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

_PROGRAMS = 256  # keep a card busy, which has up to 144 multiprocessors


@dataclass(frozen=True)
class ColumnTile:
    """A tile of a depthwise convolution that does not halve: a column of voxels, computed plane by plane."""

    channels: int
    y: int  # times `rows`
    x: int
    rows: int
    planes: int
    unroll: int = 1  # of the kernel's columns: more loads at once, but more registers
    warps: int = 4

    def programs(self, shape: Shape) -> int:
        """Per image and block of channels."""
        z, y, x = shape
        return cdiv(z, self.planes) * cdiv(y, self.y * self.rows) * cdiv(x, self.x)

    def is_even(self, shape: Shape) -> bool:
        """Whether no column reaches beyond the grid in y or x."""
        return shape[1] % (self.y * self.rows) == 0 and shape[2] % self.x == 0


@dataclass(frozen=True)
class PieceTile:
    """A tile of the depthwise convolution that halves: `rounds` pieces of `voxels`, one after the other."""

    channels: int
    voxels: int
    rounds: int
    warps: int = 4

    def programs(self, voxels: int) -> int:
        """Per image and block of channels."""
        return cdiv(voxels, self.voxels * self.rounds)


@dataclass(frozen=True)
class PointTile:
    """A tile of the second pass: voxels, hidden channels at a time, and programs that share them."""

    voxels: int
    hidden: int
    splits: int
    warps: int
    stages: int

    def box(self, shape: Shape) -> Shape:
        """The voxels as a box `(z, y, x)` of a grid, its sides powers of two."""
        x = min(16, self.voxels, next_power_of_2(shape[2]))
        y = min(self.voxels // x, next_power_of_2(shape[1]))
        return self.voxels // (x * y), y, x


def column_tiles(shape: Shape, channels: int, images: int, k: int) -> Iterator[ColumnTile]:
    """Tiles for a grid `(Z, Y, X)`, first the deepest column that keeps the card busy.

    Sixteen voxels of 32 channels are four channels to a thread, and four rows: each load of weights, the most
    frequent loads of a thread, then serves four voxels.
    """
    z, y, x = shape
    if INTERPRETED:
        yield ColumnTile(channels, next_power_of_2(y), next_power_of_2(x), 1, z)
        return
    width = min(16, next_power_of_2(x))
    tile = ColumnTile(min(32, channels), 16 // width, width, rows=4, planes=2)
    tile = _deepest(tile, (32, 16, 8, 4), shape, channels, images)
    if _programs(tile, shape, channels, images) < _PROGRAMS:
        # Too few programs to hide the latency of loads: take more of them, and load more at once.
        tile = replace(tile, rows=2, unroll=3 if k == 3 else 1)
    yield tile
    yield replace(tile, planes=max(tile.planes // 2, 2))
    yield replace(tile, planes=tile.planes * 2)
    yield replace(tile, planes=cdiv(z, 3))
    yield replace(tile, unroll=3 if tile.unroll == 1 else 1)
    yield replace(tile, rows=2)
    yield replace(tile, rows=2, y=2 * tile.y)
    yield replace(tile, channels=min(64, channels))
    if k == 3:  # with larger kernels these need too many registers
        yield replace(tile, rows=6)
        yield replace(tile, rows=8)


def up_tiles(shape: Shape, channels: int, images: int, k: int) -> Iterator[ColumnTile]:
    """Tiles for a grid `(Z, Y, X)` that is doubled: one voxel becomes eight, which needs many registers.

    `k` has no effect on the tiles, but each `k` has its own `Choice`: the card may lack room for one of them.
    """
    z, y, x = shape
    if INTERPRETED:
        yield ColumnTile(channels, next_power_of_2(y), next_power_of_2(x), 1, z)
        return
    width = min(16, next_power_of_2(x))
    tile = ColumnTile(min(32, channels), 16 // width, width, rows=1, planes=1)
    tile = _deepest(tile, (16, 8, 4, 2), shape, channels, images)
    yield tile
    yield replace(tile, planes=2 * tile.planes)
    yield replace(tile, y=2 * tile.y)


def _deepest(
    tile: ColumnTile, depths: tuple[int, ...], shape: Shape, channels: int, images: int
) -> ColumnTile:
    """The tile with the first of these depths that keeps the card busy, else unchanged."""
    deep = (replace(tile, planes=planes) for planes in depths)
    return next((each for each in deep if _programs(each, shape, channels, images) >= 4 * _PROGRAMS), tile)


def _programs(tile: ColumnTile, shape: Shape, channels: int, images: int) -> int:
    return tile.programs(shape) * (channels // tile.channels) * images


def piece_tiles(voxels: int, channels: int, images: int) -> Iterator[PieceTile]:
    """Tiles for this number of voxels of the output."""
    if INTERPRETED:
        yield PieceTile(channels, min(4096, next_power_of_2(voxels)), 1)
        return
    block = min(32, channels)
    tile = PieceTile(block, 32, 1)
    for rounds in (8, 4, 2, 1):
        tile = replace(tile, rounds=rounds)
        if tile.programs(voxels) * (channels // block) * images >= 4 * _PROGRAMS:
            break
    yield tile
    yield replace(tile, voxels=tile.voxels // 2, rounds=2 * tile.rounds)
    yield replace(tile, voxels=tile.voxels // 2)
    yield replace(tile, channels=min(64, channels), voxels=tile.voxels // 2)
    yield replace(tile, voxels=2 * tile.voxels)
    yield replace(tile, rounds=2 * tile.rounds)


def point_tiles(
    voxels: int, channels: int, hidden: int, out: int, itemsize: int, images: int
) -> Iterator[PointTile]:
    """Tiles for one launch of the second pass. Later ones need less shared memory; the last serve benchmarks.

    Args:
        voxels: number in an image.
        channels, hidden, out: numbers of channels of the block, padded.
        itemsize: bytes of a number.
        images: number of images computed together.
    """
    if INTERPRETED:
        yield PointTile(min(4096, next_power_of_2(voxels)), math.gcd(hidden, 64), 1, 4, 1)
        return
    widest = max(channels, out)
    chunk = 32 if widest >= 256 or itemsize == 4 else 64

    def tile(block: int) -> PointTile:
        splits = 1
        while (
            cdiv(voxels, block) * images * splits < _PROGRAMS // 2
            and hidden // splits > 128
            and hidden % (splits * 32) == 0
        ):
            splits *= 2
        return PointTile(
            block, math.gcd(hidden // splits, chunk), splits, 8 if block * widest >= 128 * 128 else 4, 2
        )

    def cost(tile: PointTile) -> float:
        """Bytes of weights and parts through the second-level cache, more where part of the card is idle."""
        blocks = cdiv(voxels, tile.voxels)
        weights = blocks * (channels + out) * hidden * itemsize
        parts = 8 * tile.splits * voxels * out if tile.splits > 1 else 0
        return (weights + parts) / min(1.0, blocks * images * tile.splits / (_PROGRAMS // 2))

    first = tile(128 if widest <= 128 else 64 if widest <= 256 else 32)
    if widest == 256 and itemsize == 2:
        first = min(first, tile(128), key=cost)
    smaller = [tile(block) for block in dict.fromkeys((first.voxels // 2, 32, 16)) if block < first.voxels]
    for choice in (first, *smaller):
        yield choice
        yield replace(choice, stages=1)
        yield replace(choice, stages=1, hidden=math.gcd(choice.hidden, 32))
    yield PointTile(16, 16, 1, 4, 1)
    yield replace(first, stages=3)
    yield replace(first, hidden=math.gcd(hidden // first.splits, 96 - chunk))
    yield replace(first, warps=12 - first.warps)
    yield replace(tile(2 * first.voxels), warps=8)
    if hidden % (first.splits * 64) == 0:
        yield replace(first, splits=2 * first.splits, hidden=math.gcd(hidden // first.splits // 2, chunk))
    if first.splits > 1:
        yield replace(first, splits=first.splits // 2)
