"""Time and memory of one training step in mixed precision: torch's layers, channels-last, and ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import cast, get_args

import torch
from mednext.network.mednext import Checkpointing, MedNeXt
from mednext_training.triton_blocks import use_triton_kernels
from torch import Tensor, nn

from .forward import FAILURES
from .records import tell
from .scale import Scale
from .timing import DEVICE, ON_CARD, Candidate, prepare, time_interleaved

BASELINE = "torch, eager"
OURS = "Triton, eager"


def training(job: str, name: str, scale: Scale) -> None:
    """Measure a step of ours and of the reference, then checkpointing, then `torch.compile`."""
    image = scale.image(scale.sides, scale.batch).to(DEVICE)
    ways: dict[str, Callable[[], nn.Module]] = {
        OURS: lambda: _network(name, scale, "triton"),
        BASELINE: lambda: _network(name, scale, "torch"),
        "torch, channels-last, eager": lambda: _network(name, scale, "channels-last"),
    }
    for mode in get_args(Checkpointing)[1:]:
        ways[f"Triton, eager, computed again: {mode}"] = lambda mode=mode: _network(  # type: ignore[misc]
            name, scale, "triton", mode
        )
        ways[f"torch, eager, computed again: {mode}"] = lambda mode=mode: _network(  # type: ignore[misc]
            name, scale, "torch", mode
        )
    if not scale.tiny:
        ways["Triton, compiled"] = lambda: _compiled(_network(name, scale, "triton"))
        ways["torch, compiled"] = lambda: _compiled(_network(name, scale, "torch"))
    else:
        ways = {what: ways[what] for what in (OURS, BASELINE)}
    seen: dict[str, float] = {}
    for what, make in ways.items():
        try:
            candidate = Candidate(step_of(make(), image))
            prepare(candidate, scale.calls)
            time_interleaved({what: candidate}, max(1, scale.rounds // 4))
        except FAILURES as error:
            tell(job, what, failed=f"{error}"[:300])
            continue
        finally:
            _forget()
        seen[what] = candidate.median
        tell(job, what, ms=candidate.median, peak_mib=candidate.peak_mib, **_times(seen, what))
    ours = [value for what, value in seen.items() if what.startswith("Triton") and "again" not in what]
    theirs = [value for what, value in seen.items() if what == BASELINE]
    if ours and theirs:
        tell(job, "best", ms=min(ours), times=theirs[0] / min(ours))


def step_of(network: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """A step with AdamW and a scaled loss at all scales, as nnU-Net has it."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, eps=1e-4)
    scaler = torch.amp.GradScaler("cuda", enabled=ON_CARD)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.float16) if ON_CARD else nullcontext():
            heads = network(image)
        loss = torch.stack([head.float().square().mean() for head in heads]).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step


def _network(name: str, scale: Scale, layers: str, checkpointing: Checkpointing = "none") -> MedNeXt:
    network = scale.network(name, deep_supervision=True).to(DEVICE)
    network.checkpoint(checkpointing)
    if layers != "torch":
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if layers == "triton" and not use_triton_kernels(network, DEVICE):
        raise RuntimeError("the Triton kernels are not used here: the log says why")
    return network


def _compiled(network: nn.Module) -> nn.Module:
    return cast(nn.Module, torch.compile(network, dynamic=False))


def _times(seen: dict[str, float], what: str) -> dict[str, float]:
    return {"times": seen[BASELINE] / seen[what]} if BASELINE in seen else {}


def _forget() -> None:
    torch.compiler.reset()
    if ON_CARD:
        torch.cuda.empty_cache()
