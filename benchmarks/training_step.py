"""One training step of MedNeXt-S on a CPU: torch's layers, the same channels-last, and the native kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mednext.network import MedNeXt
from mednext_training.channels_last import use_native_kernels

from .interleaved import median_seconds, ratio_table

PATCH = (32, 48, 32)
BASELINE = "torch"


def _step(network: MedNeXt, image: torch.Tensor) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, eps=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([head.square().mean() for head in network(image)]).sum().backward()
        optimizer.step()

    return step


def measure(rounds: int) -> str:
    """A table for a batch of two patches."""
    image = torch.randn(2, 1, *PATCH)
    networks = {
        name: MedNeXt.variant("S", in_channels=1, num_classes=3, deep_supervision=True)
        for name in (BASELINE, "torch, channels-last", "native kernels, channels-last")
    }
    networks["torch, channels-last"].to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    native = networks["native kernels, channels-last"]
    if not use_native_kernels(native):
        del networks["native kernels, channels-last"]
    steps = {
        name: _step(
            network,
            image if name == BASELINE else image.contiguous(memory_format=torch.channels_last_3d),
        )
        for name, network in networks.items()
    }
    title = f"Training step, MedNeXt-S k3, batch 2, {'×'.join(map(str, PATCH))}"
    return ratio_table(title, median_seconds(steps, rounds), BASELINE)
