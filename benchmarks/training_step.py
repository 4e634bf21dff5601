"""One training step of MedNeXt-S on a CPU: torch's layers, the same channels-last, and the native kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from mednext.network.mednext import Checkpointing, MedNeXt
from mednext_training.channels_last import use_native_kernels
from torch import Tensor

from .interleaved import median_seconds, ratio_table

PATCH = (32, 48, 32)
SIDE = 64  # of the patches with and without checkpointing
BASELINE, CHANNELS_LAST, NATIVE = LAYERS = (
    "torch",
    "torch, channels-last",
    "native kernels, channels-last",
)


def prepared(layers: str, image: Tensor) -> tuple[MedNeXt, Tensor]:
    """A network of one of `LAYERS`, and the image as it takes it. Raises OSError where there is no such."""
    network = MedNeXt.variant("S", in_channels=1, num_classes=3, deep_supervision=True)
    if layers == BASELINE:
        return network, image
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if layers == NATIVE and not use_native_kernels(network):
        raise OSError("The native training kernels cannot be built here.")
    return network, image.contiguous(memory_format=torch.channels_last_3d)


def step_of(network: MedNeXt, image: Tensor) -> Callable[[], object]:
    """A step with AdamW and a loss at all scales."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, eps=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([head.square().mean() for head in network(image)]).sum().backward()
        optimizer.step()

    return step


def measure(rounds: int) -> str:
    """Two tables for a batch of two patches: the layers, and what is computed again to save memory."""
    steps = {}
    for layers in LAYERS:
        try:
            steps[layers] = step_of(*prepared(layers, torch.randn(2, 1, *PATCH)))
        except OSError:
            continue
    title = f"Training step, MedNeXt-S k3, batch 2, {'×'.join(map(str, PATCH))}"
    table = ratio_table(title, median_seconds(steps, rounds), BASELINE)
    return table + "\n" + _checkpointing(NATIVE if NATIVE in steps else CHANNELS_LAST, rounds)


def _checkpointing(layers: str, rounds: int) -> str:
    from .training_memory import measure as peak_mib

    modes: tuple[Checkpointing, ...] = get_args(Checkpointing)
    steps = {}
    for mode in modes:
        network, image = prepared(layers, torch.randn(2, 1, *(SIDE,) * 3))
        network.checkpoint(mode)
        steps[mode] = step_of(network, image)
    seconds = median_seconds(steps, rounds)
    lines = [
        f"### Training step with checkpointing, MedNeXt-S k3, {layers}, batch 2, {SIDE}³",
        "",
        "| computed again | seconds | times the time | peak MiB | with the system's allocator |",
        "|---|---|---|---|---|",
        *(
            f"| {mode} | {seconds[mode]:.3f} | {seconds[mode] / seconds['none']:.2f} "
            f"| {peak_mib(layers, mode, SIDE, tuned=True):.0f} "
            f"| {peak_mib(layers, mode, SIDE, tuned=False):.0f} |"
            for mode in modes
        ),
    ]
    return "\n".join(lines) + "\n"
