"""One training step of MedNeXt-S on a CPU, by torch's layers and the native kernels, and of others' networks.

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
from torch import Tensor, nn

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


MONAI, NNUNET = PEERS = ("MONAI's MedNeXt-S", "nnU-Net's own network (PlainConvUNet)")


def peer(name: str) -> nn.Module:
    """One of `PEERS` with heads at all scales. Raises ImportError where its package is missing."""
    if name == MONAI:
        from monai.networks.nets.mednext import create_mednext

        return create_mednext(
            "S", spatial_dims=3, in_channels=1, out_channels=3, kernel_size=3, deep_supervision=True
        )
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    # As nnU-Net plans it for patches of this size.
    return PlainConvUNet(
        1, 4, (32, 64, 128, 256), nn.Conv3d, 3, (1, 2, 2, 2), 2, 3, 2, True, nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )  # fmt: skip


def prepared(layers: str, image: Tensor) -> tuple[nn.Module, Tensor]:
    """A network of one of `LAYERS` or `PEERS`, and the image in its layout.

    Raises OSError or ImportError if it cannot be built.
    """
    if layers in PEERS:
        return peer(layers), image
    network = MedNeXt.variant("S", in_channels=1, num_classes=3, deep_supervision=True)
    if layers == BASELINE:
        return network, image
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if layers == NATIVE and not use_native_kernels(network):
        raise OSError("The native training kernels cannot be built here.")
    return network, image.contiguous(memory_format=torch.channels_last_3d)


def step_of(network: nn.Module, image: Tensor) -> Callable[[], object]:
    """A step with AdamW and a loss at all scales."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, eps=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([head.square().mean() for head in network(image)]).sum().backward()
        optimizer.step()

    return step


def measure(settings: Settings) -> str:
    """Three tables for a batch of two patches: the layers, networks of others, and checkpointing."""
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
    return "\n".join(
        [
            table(title, compared(seconds, BASELINE)),
            _beside_peers(layers, side, settings.rounds),
            _checkpointing(layers, side, settings.rounds),
        ]
    )


def _beside_peers(layers: str, side: int, rounds: int) -> str:
    """Time on small patches and memory on large ones, as ratios to ours in the same run."""
    steps = {}
    for name in (layers, *PEERS):
        try:
            steps[name] = step_of(*prepared(name, torch.randn(2, 1, *PATCH)))
        except ImportError:
            continue
    seconds = median_seconds(steps, rounds)
    peaks = {name: _steps_mib(name, "none", side, tuned=True) for name in steps}
    rows: list[Row] = [
        {
            "": "ours" if name == layers else name,
            "seconds": seconds[name],
            "times ours": seconds[name] / seconds[layers],
            f"peak MiB at {side}³": peaks[name],
            "times our peak": peaks[name] / peaks[layers],
        }
        for name in steps
    ]
    return table(f"Training step beside others' networks, batch 2, {'×'.join(map(str, PATCH))}", rows)


def _checkpointing(layers: str, side: int, rounds: int) -> str:
    modes: tuple[Checkpointing, ...] = get_args(Checkpointing)
    steps: dict[str, Callable[[], object]] = {}
    for mode in modes:
        network, image = prepared(layers, torch.randn(2, 1, *(side,) * 3))
        assert isinstance(network, MedNeXt)
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
    if isinstance(network, MedNeXt):
        network.checkpoint(mode)
    step = step_of(network, image)
    before = peak_mib()
    for _ in range(3):
        step()
    sys.stdout.write(f"{peak_mib() - before}\n")


if __name__ == "__main__":
    if sys.argv[1] not in (*LAYERS, *PEERS) or sys.argv[2] not in get_args(Checkpointing):
        layers = ", ".join((*LAYERS, *PEERS))
        raise SystemExit(f"LAYERS: {layers}. CHECKPOINTING: {', '.join(get_args(Checkpointing))}.")
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))  # type: ignore[arg-type]
