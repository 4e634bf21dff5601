"""Check that an Apple GPU computes a network rightly; its operators depend on torch and macOS.

Before torch 2.8 it has no transposed 3D convolution, and operators have silently given wrong numbers.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from ..system.devices import is_out_of_memory
from .mednext import MedNeXt
from .patch_sides import SIDE_DIVISOR

_TOLERANCE = 1e-2  # of the largest logit


def trouble(network: nn.Module, device: torch.device) -> str | None:
    """The fault of a network on a device, found with a small random image; None if it is right.

    Args:
        network: the plain one, in evaluation mode; it stays on its device. None for other networks than
            MedNeXt, without a trial.
        device: compared with the CPU.

    Raises:
        RuntimeError: the device's memory ran out.
    """
    if not isinstance(network, MedNeXt):
        return None
    sides = (2 * SIDE_DIVISOR,) * network.dimensions
    image = torch.randn(1, network.in_channels, *sides, generator=torch.Generator().manual_seed(0))
    expected = deepcopy(network).cpu()(image)
    try:
        found = deepcopy(network).to(device)(image.to(device)).cpu()
    except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError; float64 a TypeError
        if is_out_of_memory(error):
            raise
        return str(error).strip().split("\n")[0]
    difference = float((found - expected).abs().max() / expected.abs().max())
    if difference <= _TOLERANCE:  # False for NaN
        return None
    return f"its numbers are wrong by {difference:.1e} of the largest logit"
