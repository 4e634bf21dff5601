"""One training step of MedNeXt-S on a CPU: torch's layers, channels-last, and the native kernels.

`python -m benchmarks.training_step LAYERS CHECKPOINTING SIDE` prints the MiB that three steps take beyond the
memory before them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import get_args

import torch
from mednext.network.mednext import Checkpointing, MedNeXt
from mednext_training.channels_last import use_native_kernels
from torch import Tensor

from . import Settings
from .children import numbers_of, peak_mib
from .interleaved import median_seconds
from .report import Row, compared, table

PATCH = (32, 48, 32)
BASELINE, CHANNELS_LAST, NATIVE = LAYERS = (
    "torch",
    "torch, channels-last",
    "native kernels, channels-last",
)


def prepared(layers: str, image: Tensor) -> tuple[MedNeXt, Tensor]:
    """A network of one of `LAYERS`, and the image in its layout. Raises OSError if they cannot be built."""
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


def measure(settings: Settings) -> str:
    """Two tables for a batch of two patches: the layers, and checkpointing."""
    steps = {}
    for layers in LAYERS:
        try:
            steps[layers] = step_of(*prepared(layers, torch.randn(2, 1, *PATCH)))
        except OSError:
            continue
    seconds = median_seconds(steps, settings.rounds)
    title = f"Training step, MedNeXt-S k3, batch 2, {'×'.join(map(str, PATCH))}"
    layers = NATIVE if NATIVE in steps else CHANNELS_LAST
    side = settings.pick(32, 64, 64)
    return f"{table(title, compared(seconds, BASELINE))}\n{_checkpointing(layers, side, settings.rounds)}"


def _checkpointing(layers: str, side: int, rounds: int) -> str:
    modes: tuple[Checkpointing, ...] = get_args(Checkpointing)
    steps = {}
    for mode in modes:
        network, image = prepared(layers, torch.randn(2, 1, *(side,) * 3))
        network.checkpoint(mode)
        steps[mode] = step_of(network, image)
    seconds = median_seconds(steps, rounds)
    rows: list[Row] = [
        {
            "computed again": mode,
            "seconds": seconds[mode],
            "times the time": seconds[mode] / seconds["none"],
            "peak MiB": _steps_mib(layers, mode, side, tuned=True),
            "peak MiB with the system's allocator": _steps_mib(layers, mode, side, tuned=False),
        }
        for mode in modes
    ]
    return table(f"Training step with checkpointing, MedNeXt-S k3, {layers}, batch 2, {side}³", rows)


def _steps_mib(layers: str, mode: str, side: int, tuned: bool) -> float:
    """In a process of its own: a peak never falls within one."""
    return numbers_of("benchmarks.training_step", layers, mode, str(side), tuned=tuned)[0]


def main(layers: str, mode: Checkpointing, side: int) -> None:
    """Measure the memory of three steps in this process and print it."""
    network, image = prepared(layers, torch.randn(2, 1, *(side,) * 3))
    network.checkpoint(mode)
    step = step_of(network, image)
    before = peak_mib()
    for _ in range(3):
        step()
    sys.stdout.write(f"{peak_mib() - before}\n")


if __name__ == "__main__":
    if sys.argv[1] not in LAYERS or sys.argv[2] not in get_args(Checkpointing):
        raise SystemExit(f"LAYERS: {', '.join(LAYERS)}. CHECKPOINTING: {', '.join(get_args(Checkpointing))}.")
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))  # type: ignore[arg-type]
