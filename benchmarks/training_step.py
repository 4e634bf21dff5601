"""One training step of MedNeXt-S on a CPU, by torch's layers and the native kernels, and of others' networks.

`python -m benchmarks.training_step NAME SIDE` prints the MiB that three steps take beyond those before them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import cast, get_args

import torch
from mednext.network.mednext import Checkpointing, MedNeXt
from mednext_training.network.channels_last import use_native_kernels
from torch import Tensor, nn

from . import Settings
from .children import numbers_of, peak_mib_of
from .report import Row, table
from .timing import median_seconds

PATCH = (32, 48, 32)
BASELINE, CHANNELS_LAST, NATIVE = "torch", "torch, channels-last", "native kernels"
MONAI, NNUNET = "MONAI's MedNeXt-S", "nnU-Net's own network (PlainConvUNet)"
AGAIN = ", computed again: "
NAMES = (
    *(BASELINE, CHANNELS_LAST, NATIVE),
    *(f"{NATIVE}{AGAIN}{kept}" for kept in get_args(Checkpointing)[1:]),
    *(MONAI, NNUNET),
)


def measure(settings: Settings) -> str:
    """A table: time on small patches, memory on large ones, and both as ratios to torch's."""
    side = settings.pick(32, 64, 64)
    steps = {}
    for name in NAMES:
        with suppress(OSError, ImportError):
            steps[name] = prepared(name, torch.randn(2, 1, *PATCH))
    seconds = median_seconds(steps, settings.rounds)
    peaks = {name: numbers_of(__name__, name, str(side))[0] for name in steps}
    rows: list[Row] = [
        {
            "": name,
            "seconds": seconds[name],
            "times as fast": seconds[BASELINE] / seconds[name],
            f"peak MiB at {side}³": peaks[name],
            "times the memory": peaks[name] / peaks[BASELINE],
        }
        for name in steps
    ]
    return table(f"Training step, MedNeXt-S k3, batch 2, {'×'.join(map(str, PATCH))}", rows)


def prepared(name: str, image: Tensor) -> Callable[[], Tensor]:
    """A step of one of `NAMES`. Raises OSError or ImportError if it cannot be built here."""
    if name == MONAI:
        from monai.networks.nets.mednext import create_mednext

        network = create_mednext("S", 3, 1, 3, kernel_size=3, deep_supervision=True)
        return step_of(network, image)
    if name == NNUNET:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet

        # As nnU-Net plans it for patches of this size.
        network = PlainConvUNet(
            1, 4, (32, 64, 128, 256), nn.Conv3d, 3, (1, 2, 2, 2), 2, 3, 2, True, nn.InstanceNorm3d,
            {"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
            deep_supervision=True,
        )  # fmt: skip
        return step_of(network, image)
    ours = MedNeXt.variant("S", in_channels=1, num_classes=3, deep_supervision=True)
    layers, _, again = name.partition(AGAIN)
    ours.checkpoint(cast(Checkpointing, again or "none"))
    if layers != BASELINE:
        ours.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        image = image.contiguous(memory_format=torch.channels_last_3d)
    if layers == NATIVE and not use_native_kernels(ours):
        raise OSError("The native training kernels cannot be built here.")
    return step_of(ours, image)


def step_of(network: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """A step with AdamW and a loss at all scales; on a card in mixed precision, as nnU-Net has it."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, eps=1e-4)
    scaler = torch.amp.GradScaler("cuda", enabled=image.is_cuda)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.float16) if image.is_cuda else nullcontext():
            heads = network(image)
        loss = torch.stack([head.float().square().mean() for head in heads]).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step


def main(name: str, side: int) -> None:
    """Measure the memory of three steps in this process and print it."""
    step = prepared(name, torch.randn(2, 1, *(side,) * 3))
    sys.stdout.write(f"{peak_mib_of(lambda: [step() for _ in range(3)])}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
