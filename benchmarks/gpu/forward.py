"""The forward pass of one patch on a card: its error, and its speed beside torch, MONAI and torch.compile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from mednext.network.mednext import MedNeXt
from mednext.network.triton import TritonMedNeXt
from torch import Tensor

from ..candidates import Size, channels_last, monai_network
from ..timing import median_seconds
from .records import tell
from .scale import DEVICE, Scale, prepared

OURS, EAGER, COMPILED = "Triton fp16", "eager fp16", "torch.compile fp16"
FAILURES = (RuntimeError, OSError, ImportError, AssertionError, subprocess.CalledProcessError)
HALVES = {OURS: torch.float16, "Triton bf16": torch.bfloat16}

Run = Callable[[], Tensor]


@torch.inference_mode()
def forward(job: str, name: str, scale: Scale) -> None:
    """Ours, torch's layers and MONAI's in turn."""
    network, image = _network(name, scale), scale.image().to(DEVICE)
    runs: dict[str, Run] = {
        what: partial(TritonMedNeXt(network, dtype, DEVICE), image) for what, dtype in HALVES.items()
    }
    runs[EAGER] = _autocast(network, image)
    runs[f"{EAGER}, channels-last"] = _autocast(channels_last(network), image)
    peer = None if scale.tiny else monai_network(Size.parse(name))
    if peer is not None:
        runs["MONAI, eager fp16"] = _autocast(peer.to(DEVICE), image)
    _compare(job, runs, network(image), scale, EAGER)


@torch.inference_mode()
def compiled(job: str, name: str, scale: Scale) -> None:
    """`torch.compile` beside ours."""
    network, image = _network(name, scale), scale.image().to(DEVICE)
    compile_ = (lambda network: network) if scale.tiny else partial(torch.compile, dynamic=False)
    runs: dict[str, Run] = {
        OURS: partial(TritonMedNeXt(network, torch.float16, DEVICE), image),
        COMPILED: _autocast(compile_(network), image),
        f"{COMPILED}, channels-last": _autocast(compile_(channels_last(network)), image),
    }
    _compare(job, runs, network(image), scale, COMPILED)


@torch.inference_mode()
def batches(job: str, name: str, scale: Scale) -> None:
    """Milliseconds of a patch when several, such as its mirrored copies, are computed together."""
    fast = TritonMedNeXt(_network(name, scale), torch.float16, DEVICE)
    for count in (1,) if scale.tiny else (1, 2, 4, 8):
        run = partial(fast, scale.image(count).to(DEVICE))
        _, peak_mib = prepared(run, scale.calls)
        ms = (
            1000 * median_seconds({"": run}, scale.rounds, warm=True)[""]
        )  # not in turn: each has its buffers
        tell(job, f"{count} together", ms=ms, ms_each=ms / count, peak_mib=peak_mib)


def _compare(job: str, runs: dict[str, Run], expected: Tensor, scale: Scale, baseline: str) -> None:
    """Time the candidates that run, in turn, and record their errors and their ratios to the baseline."""
    values: dict[str, dict[str, float]] = {}
    for what, run in runs.items():
        try:
            found, peak_mib = prepared(run, scale.calls)
        except FAILURES as error:
            tell(job, what, failed=f"{error}"[:300])
            continue
        difference = float((found.float() - expected).norm() / expected.norm())  # MONAI's is another network
        values[what] = {"peak_mib": peak_mib, "difference": difference}
    seconds = median_seconds({what: runs[what] for what in values}, scale.rounds, warm=True)
    for what, each in values.items():
        ratio = {f"times {baseline}": seconds[baseline] / seconds[what]} if baseline in seconds else {}
        tell(job, what, ms=1000 * seconds[what], **each, **ratio)


def _network(name: str, scale: Scale) -> MedNeXt:
    return scale.network(name).eval().to(DEVICE)


def _autocast(network: Callable[[Tensor], Tensor], image: Tensor) -> Run:
    def run() -> Tensor:
        with torch.autocast("cuda", dtype=torch.float16) if image.is_cuda else nullcontext():
            return network(image)

    return run
