"""Mirrored copies added to a tile's mean, and tiles added to the sums: by kernels and by torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from types import ModuleType

import mednext.inference.accumulation as by_torch
import torch
from mednext.inference.tile_sums import Averaged, Copies, Target
from mednext.inference.triton_kernels import accumulation_launches as by_kernels
from torch import Tensor

from .records import tell
from .scale import CLASSES, Scale
from .timing import DEVICE, Candidate, prepare, relative_difference, time_interleaved

FLIPS = [axes for count in range(4) for axes in combinations((1, 2, 3), count)]


@torch.inference_mode()
def adding(job: str, _: str, scale: Scale) -> None:
    """Add eight copies, one copy, and a whole tile, and compare the kernels with torch."""
    logits = torch.randn(8, CLASSES, *scale.sides, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    for what, averaged in (
        ("logits", Averaged(CLASSES, True, False, False)),
        ("logits and softmax", Averaged(CLASSES, True, True, False)),
    ):
        for count in (8, 1):
            run = partial(_copies, logits=logits[:count], averaged=averaged)
            _compare(job, f"{count} copies, {what}", scale, run)
    shares = [torch.rand(side, generator=torch.Generator().manual_seed(1)).to(DEVICE) for side in scale.sides]
    _compare(job, "a tile, copied before", scale, partial(_tile, values=logits[0], shares=shares))


def _copies(ways: ModuleType, logits: Tensor, averaged: Averaged) -> Tensor:
    mean = torch.empty(averaged.outputs, *logits.shape[2:], device=DEVICE)
    bool(ways.add_copies(logits, [Copies(mean, FLIPS[: len(logits)], divisor=len(logits))], averaged))
    return mean


def _tile(ways: ModuleType, values: Tensor, shares: list[Tensor]) -> Tensor:
    sums = torch.ones_like(values)
    ways.add_tile([Target(sums, (0, 0, 0))], values.clone(), shares)
    return sums


def _compare(job: str, what: str, scale: Scale, run: Callable[[ModuleType], Tensor]) -> None:
    ways = {"torch": Candidate(partial(run, by_torch)), "kernel": Candidate(partial(run, by_kernels))}
    expected, found = (prepare(candidate, scale.calls) for candidate in ways.values())
    time_interleaved(ways, scale.rounds)
    difference = relative_difference(found, expected)
    right = "yes" if difference <= 1e-5 else "NO"
    times = ways["torch"].median / ways["kernel"].median
    tell(job, f"{what}, torch", ms=ways["torch"].median)
    tell(job, f"{what}, kernel", ms=ways["kernel"].median, difference=difference, right=right, times=times)
