"""One training step on a CUDA card in mixed precision; without a card it says so and ends well.

    python -m benchmarks.gpu_training --networks S3 B3 L5 --side 128

Layouts, torch's gradient of the depthwise kernels and that by shifted products, eager and compiled, and
checkpointing. Times are of CUDA events, medians of interleaved rounds; differences are those of all gradients
in fp32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import product
from typing import get_args

import torch
from mednext.network import Checkpointing, MedNeXt
from mednext_training.depthwise_gradient import use_shifted_gradients
from torch import Tensor

from .gpu import Candidate, time_interleaved

CLASSES, BATCH = 14, 2
BASELINE = "contiguous, torch's gradient, eager"


def loss_of(network: torch.nn.Module, image: Tensor, half: bool = True) -> Tensor:
    """A loss at all scales."""
    with torch.autocast("cuda", dtype=torch.float16, enabled=half):
        heads = network(image)
    return torch.stack([head.float().square().mean() for head in heads]).sum()


def step_of(network: torch.nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """A step with AdamW and a scaled loss, as nnU-Net has it."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, eps=1e-4)
    scaler = torch.amp.GradScaler("cuda")

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(network, image)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step


def network_of(name: str, checkpointing: Checkpointing, channels_last: bool, shifted: bool) -> MedNeXt:
    """A network on the card, the same weights for the same name."""
    torch.manual_seed(0)
    network = MedNeXt.variant(
        name[0], 1, CLASSES, int(name[1:]), deep_supervision=True, checkpointing=checkpointing
    ).cuda()
    if channels_last:
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if shifted:
        use_shifted_gradients(network)
    return network


def gradients(network: MedNeXt, image: Tensor) -> Tensor:
    """All of them in full precision, in one vector."""
    loss_of(network, image, half=False).backward()
    return torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None])


def measured(name: str, image: Tensor, rounds: int, checkpointing: Checkpointing) -> dict[str, Candidate]:
    """All ways to do a step with one kind of checkpointing, with their times."""
    small = image[:, :, :32, :32, :32].contiguous()
    expected = gradients(network_of(name, "none", False, False), small)
    found: dict[str, Candidate] = {}
    for channels_last, shifted, compiled in product((False, True), repeat=3):
        parts = (
            "channels-last" if channels_last else "contiguous",
            "shifted products" if shifted else "torch's gradient",
            "compiled" if compiled else "eager",
        )
        network = network_of(name, checkpointing, channels_last, shifted)
        difference = float((gradients(network, small) - expected).norm() / expected.norm())
        step = step_of(torch.compile(network) if compiled else network, image)
        for _ in range(3):
            step()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        peak = (torch.cuda.max_memory_allocated() - before) / 2**20
        found[", ".join(parts)] = Candidate(step, difference, peak)
    time_interleaved(found, rounds)
    return found


def table(name: str, side: int, checkpointing: Checkpointing, found: dict[str, Candidate]) -> str:
    """Markdown."""
    lines = [
        f"### Training step, MedNeXt-{name[0]} k{name[1:]}, batch {BATCH}, {side}³, "
        f"computed again: {checkpointing}",
        "",
        "| | ms | times as fast | peak MiB | difference of gradients |",
        "|---|---|---|---|---|",
    ]
    for kind, each in found.items():
        ratio = found[BASELINE].median / each.median
        lines.append(
            f"| {kind} | {each.median:.1f} | {ratio:.2f} | {each.peak_mib:.0f} | {each.difference:.1e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu_training", description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["S3", "B3", "L5"], help="such as S3")
    parser.add_argument("--side", type=int, default=128, help="side of the cube in voxels")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.stdout.write("no CUDA device here\n")
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    image = torch.randn(BATCH, 1, *(arguments.side,) * 3, device="cuda")
    for name in arguments.networks:
        for checkpointing in get_args(Checkpointing):
            try:
                found = measured(name, image, arguments.rounds, checkpointing)
                report = table(name, arguments.side, checkpointing, found)
            except torch.cuda.OutOfMemoryError:
                report = f"{name}, computed again: {checkpointing}: the card has too little memory.\n"
            sys.stdout.write(report + "\n")
            sys.stdout.flush()
            torch.compiler.reset()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
