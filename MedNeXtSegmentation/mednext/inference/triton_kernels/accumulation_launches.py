"""Launch the kernels of `accumulation.py`, with the arguments of `inference/accumulation.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from triton import cdiv, next_power_of_2

from ...errors import DeviceError
from ...network.triton_kernels.tile_sizes import INTERPRETED
from ..tile_sums import Averaged, Copies, Target
from ..tiles import overlap
from .accumulation import copies_to_mean, tile_to_sums

BLOCK = 65536 if INTERPRETED else 2048  # numbers of a program: 16 registers of each thread for each value


def add_copies(logits: Tensor, batch: Sequence[Copies], averaged: Averaged) -> Tensor:
    """As `inference.accumulation.add_copies`, but return a number on the device: 0 if all are finite."""
    overflowed = torch.zeros(1, dtype=torch.int32, device=logits.device)
    logits = logits.contiguous()
    classes, z, y, x = logits.shape[1:]
    rows = next_power_of_2(classes)
    block = min(max(32, BLOCK // rows), max(32, next_power_of_2(z * y * x)))
    done = 0
    for copies in batch:
        flips = sum(1 << (3 * number + axis - 1) for number, axes in enumerate(copies.flips) for axis in axes)
        with _nothing_added_twice(begun=done > 0):
            copies_to_mean[(cdiv(z * y * x, block),)](
                logits[done:], copies.mean, overflowed, len(copies.flips), flips, int(copies.first),
                float(copies.divisor), classes, z, y, x,
                LOGITS=averaged.logits, PROBABILITIES=averaged.probabilities, REGIONS=averaged.regions,
                BLOCK_K=rows, BLOCK_V=block, num_warps=4,
            )  # fmt: skip
        done += len(copies.flips)
    return overflowed


def add_tile(targets: Sequence[Target], tile: Tensor, shares: Sequence[Tensor]) -> None:
    """As `inference.accumulation.add_tile`."""
    begun = False
    for target in targets:
        outside, inside = overlap(target.corner, tile.shape[1:], target.sums.shape[1:])
        box = [side.stop - side.start for side in outside]
        voxels = box[0] * box[1] * box[2]
        if not voxels:
            continue
        with _nothing_added_twice(begun):
            tile_to_sums[(cdiv(voxels, BLOCK // 4), len(tile))](
                tile, target.sums, *shares, *tile.stride(), *(side.start for side in inside),
                *target.sums.shape[1:], *(side.start for side in outside), *box,
                BLOCK=BLOCK // 4, num_warps=4, enable_fp_fusion=False,
            )  # fmt: skip
        begun = True


@contextmanager
def _nothing_added_twice(begun: bool) -> Iterator[None]:
    """Raise `DeviceError` for a failure after a part was added: torch would add that part again."""
    try:
        yield
    except Exception as error:  # boundary: Triton's launcher raises errors of many classes
        if begun:
            raise DeviceError(
                f"The device failed while it added tiles ({error}): segment again, or choose the CPU."
            ) from error
        raise
