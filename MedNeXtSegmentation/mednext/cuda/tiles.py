"""How much each program of a kernel does: the first choice, and smaller ones for cards with less memory.

A tile's channels are contiguous, eight to a thread. Chosen from the compiler's reports (registers, spills,
shared memory) for compute capability 8.0 to 9.0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from triton import cdiv, next_power_of_2

Shape = tuple[int, int, int]

# Triton's interpreter runs one program after the other on the CPU: there, few and large ones are fast.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

_PROGRAMS = 256  # enough to fill a card: it has up to 144 multiprocessors


@dataclass(frozen=True)
class ColumnTile:
    """Of the depthwise convolution with stride 1: a column of voxels, worked through plane by plane."""

    channels: int
    y: int  # times `rows`
    x: int
    rows: int
    planes: int
    unroll: int = 1  # of the kernel's columns: more loads at once, in more registers
    warps: int = 4

    def programs(self, shape: Shape) -> int:
        """Per image and block of channels."""
        z, y, x = shape
        return cdiv(z, self.planes) * cdiv(y, self.y * self.rows) * cdiv(x, self.x)


@dataclass(frozen=True)
class PieceTile:
    """Of the resampling convolutions: `rounds` pieces of `voxels` one after the other."""

    channels: int
    voxels: int
    rounds: int
    warps: int = 4

    def programs(self, voxels: int) -> int:
        """Per image and block of channels."""
        return cdiv(voxels, self.voxels * self.rounds)


@dataclass(frozen=True)
class PointTile:
    """Of the second pass: voxels, hidden channels at a time, and programs that share the hidden channels."""

    voxels: int
    hidden: int
    splits: int
    warps: int
    stages: int


def column_tiles(shape: Shape, channels: int, images: int, k: int) -> Iterator[ColumnTile]:
    """For a grid `(Z, Y, X)`: the deepest column that still fills the card first."""
    z, y, x = shape
    if INTERPRETED:
        yield ColumnTile(channels, next_power_of_2(y), next_power_of_2(x), 1, z)
        return
    width, block = min(16, next_power_of_2(x)), min(32, channels)
    for planes in (32, 16, 8, 4, 2):
        tile = ColumnTile(block, max(32 // width, 1), width, 2, planes)
        if tile.programs(shape) * (channels // block) * images >= 4 * _PROGRAMS:
            break
    yield tile
    yield replace(tile, planes=max(tile.planes // 2, 2))
    yield replace(tile, planes=tile.planes * 2)
    yield replace(tile, rows=1)
    yield replace(tile, rows=1, y=2 * tile.y)
    if k == 3:  # with larger kernels these need more registers than there are
        yield replace(tile, rows=3)
        yield replace(tile, rows=4)
        yield replace(tile, unroll=3)


def piece_tiles(voxels: int, channels: int, images: int) -> Iterator[PieceTile]:
    """For so many voxels of the output, or of one parity of it."""
    if INTERPRETED:
        yield PieceTile(channels, min(4096, next_power_of_2(voxels)), 1)
        return
    block = min(64, channels)
    for rounds in (8, 4, 2, 1):
        tile = PieceTile(block, 64, rounds)
        if tile.programs(voxels) * (channels // block) * images >= 2 * _PROGRAMS:
            break
    yield tile
    yield replace(tile, voxels=32, rounds=2 * tile.rounds)
    yield replace(tile, channels=min(32, block))
    yield replace(tile, rounds=2 * tile.rounds)


def point_tiles(
    voxels: int, channels: int, hidden: int, out: int, itemsize: int, images: int
) -> Iterator[PointTile]:
    """For one launch of the second pass; later ones need less shared memory.

    Args:
        voxels: of an image that the launch works on.
        channels, hidden, out: of the block, padded.
        itemsize: bytes of a number.
        images: that are worked on together.
    """
    if INTERPRETED:
        yield PointTile(min(4096, next_power_of_2(voxels)), math.gcd(hidden, 64), 1, 4, 1)
        return
    widest = max(channels, out)
    most = 128 if widest <= 128 else 64 if widest <= 256 else 32
    for block in dict.fromkeys((most, most // 2, 16)):
        splits = 1
        while (
            cdiv(voxels, block) * images * splits < _PROGRAMS // 2
            and hidden // splits > 128
            and hidden % (splits * 32) == 0
        ):
            splits *= 2
        chunk = math.gcd(hidden // splits, 32 if widest >= 256 or itemsize == 4 else 64)
        warps = 8 if block * widest >= 128 * 128 else 4
        for stages in (2, 1, 3):
            yield PointTile(block, chunk, splits, warps, stages)
        yield PointTile(block, math.gcd(chunk, 32), splits, warps, 1)
    yield PointTile(16, 16, 1, 4, 1)
