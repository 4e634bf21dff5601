"""Sum the predictions of mirrored copies and of tiles.

On NVIDIA cards a Triton kernel for each of the two reads every value once; elsewhere torch adds step by step.
Both add in the same order and differ only in the rounding of a division, and in probabilities by 1e-6.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations
from types import ModuleType

import torch
from torch import Tensor

from ..errors import DeviceError
from ..system.devices import is_out_of_memory, runs_triton
from .tile_sums import Averaged, Copies, Target
from .tiles import overlap

logger = logging.getLogger(__name__)

PLANES = 8  # processed at a time on the CPU: they stay in its caches
_MOST_CLASSES = 256  # in one program of a kernel
_MOST_NUMBERS = 2**30  # of an image's logits: offsets have 32 bits, also with the classes padded
_TOLERANCE = 1e-5


class Adding:
    """Adds on a device: by kernels if they are correct there, otherwise and after a failure by torch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kernels = right_kernels(device)

    def add_copies(self, logits: Tensor, batch: Sequence[Copies], averaged: Averaged) -> bool:
        """Add the logits of a batch, `(N, classes, Z, Y, X)` float32, to the means of their tiles.

        Return whether all logits are finite; if not, the means are invalid. This waits for the device.
        """
        if self._kernels and averaged.classes <= _MOST_CLASSES and logits[0].numel() <= _MOST_NUMBERS:
            try:
                with _current(self._device):
                    return not bool(self._kernels.add_copies(logits, batch, averaged))
            except Exception as error:  # noqa: BLE001  # boundary: an optional formulation may raise anything
                self._leave(error)
        return add_copies(logits, batch, averaged)

    def add_tile(self, targets: Sequence[Target], tile: Tensor, shares: Sequence[Tensor]) -> None:
        """Weight a tile `(K, *patch)` and add the part that lies within the targets. Overwrites the tile.

        `shares` are the weights along z, y and x.
        """
        if self._kernels:
            try:
                with _current(self._device):
                    self._kernels.add_tile(targets, tile, shares)
            except Exception as error:  # noqa: BLE001  # boundary: an optional formulation may raise anything
                self._leave(error)
            else:
                return
        add_tile(targets, tile, shares)

    def _leave(self, error: Exception) -> None:
        if is_out_of_memory(error) or isinstance(error, DeviceError):
            raise error
        logger.warning("The kernels that add tiles failed: continuing without them.", exc_info=error)
        self._kernels = None


def add_copies(logits: Tensor, batch: Sequence[Copies], averaged: Averaged) -> bool:
    """`Adding.add_copies` by torch."""
    finite = bool(torch.isfinite(logits.sum()))
    images = iter(logits)
    for copies in batch:
        if copies.first:
            copies.mean.zero_()
        for axes in copies.flips:
            _add_copy(copies.mean, next(images), axes, averaged)
        if copies.divisor != 1:
            copies.mean.div_(copies.divisor)
    return finite


def _add_copy(mean: Tensor, logits: Tensor, axes: tuple[int, ...], averaged: Averaged) -> None:
    """Add logits of a copy that was mirrored along these axes of `(classes, Z, Y, X)`."""
    depth = logits.shape[1]
    planes = depth if logits.device.type != "cpu" else PLANES
    for start in range(0, depth, planes):
        stop = min(start + planes, depth)
        some = logits[:, depth - stop : depth - start] if 1 in axes else logits[:, start:stop]
        some = some.flip(axes) if axes else some
        if averaged.logits:
            mean[: averaged.classes, start:stop] += some
        if averaged.probabilities:
            some = torch.sigmoid(some) if averaged.regions else torch.softmax(some, dim=0)
            mean[-averaged.classes :, start:stop] += some


def add_tile(targets: Sequence[Target], tile: Tensor, shares: Sequence[Tensor]) -> None:
    """`Adding.add_tile` by torch."""
    z, y, x = shares
    tile.mul_(z[:, None, None] * y[:, None] * x)
    for target in targets:
        outside, inside = overlap(target.corner, tile.shape[1:], target.sums.shape[1:])
        target.sums[(slice(None), *outside)] += tile[(slice(None), *inside)]


@functools.cache
def right_kernels(device: torch.device) -> ModuleType | None:
    """The kernels if they exist and give torch's numbers; else None, and a line in the log.

    Raises torch.OutOfMemoryError.
    """
    if not runs_triton(device):
        return None
    try:
        from .triton_kernels import accumulation_launches as kernels

        with _current(device):
            difference = difference_of(kernels, device)
    except Exception as error:  # boundary: an optional formulation may raise anything
        if is_out_of_memory(error):
            raise  # another run may have the memory
        logger.warning("The kernels that add tiles cannot be used here.", exc_info=True)
        return None
    if difference <= _TOLERANCE:  # not so for NaN either
        return kernels
    logger.warning("The kernels that add tiles are wrong by %.1e: they are not used.", difference)
    return None


@torch.inference_mode()
def difference_of(kernels: ModuleType, device: torch.device) -> float:
    """Largest difference of the kernels from torch for a small tile with all its mirrored copies."""
    averaged = Averaged(3, True, True, False)
    flips = [axes for count in range(4) for axes in combinations((1, 2, 3), count)]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, 3, 4, 5, generator=generator).to(device)
    shares = [torch.rand(side, generator=generator).to(device) for side in (3, 4, 5)]
    found = []
    for add in (kernels, None):
        mean = torch.full((averaged.outputs, 3, 4, 5), torch.nan, device=device)
        sums = torch.zeros(averaged.outputs, 3, 3, 8, device=device)
        batch, targets = [Copies(mean, flips, True, 8)], [Target(sums, (1, -1, 2))]
        if add:
            overflowed = bool(add.add_copies(logits, batch, averaged))
            add.add_tile(targets, mean.clone(), shares)
        else:
            overflowed = not add_copies(logits, batch, averaged)
            add_tile(targets, mean.clone(), shares)
        if overflowed:
            return float("nan")
        found.append(torch.cat([mean.flatten(), sums.flatten()]))
    return float((found[0] - found[1]).abs().max())


def _current(device: torch.device) -> torch.cuda.device | nullcontext[None]:
    """Triton launches on the current card."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
