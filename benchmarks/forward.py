"""Forward pass of MedNeXt-S: MONAI's network and ours, fp32, batch 1, 14 classes."""

from __future__ import annotations

from functools import partial

import torch
from mednext.network import MedNeXt

from .interleaved import median_seconds, ratio_table


def measure(side: int, rounds: int) -> str:
    """A table for a cube of `side` voxels."""
    from monai.networks.nets.mednext import create_mednext

    image = torch.randn(1, 1, side, side, side)
    networks = {
        "MONAI": create_mednext("S", spatial_dims=3, in_channels=1, out_channels=14, kernel_size=3).eval(),
        "mednext.network": MedNeXt.variant("S", in_channels=1, num_classes=14).eval(),
    }
    with torch.inference_mode():
        seconds = median_seconds({name: partial(net, image) for name, net in networks.items()}, rounds)
    return ratio_table(f"Forward, MedNeXt-S k3, {side}³", seconds, "MONAI")
