"""Time and memory of one training step in mixed precision: torch's layers, channels-last, and ours."""

from __future__ import annotations

from typing import cast

import torch
from mednext.network.mednext import Checkpointing
from mednext_training.network.triton_blocks import use_triton_kernels
from torch import nn

from ..timing import median_seconds
from ..training_step import step_of
from .forward import FAILURES
from .records import tell
from .scale import DEVICE, ON_CARD, Scale, prepared

BASELINE = "torch"
WAYS: tuple[tuple[str, Checkpointing, bool], ...] = (  # layers, computed again, by torch.compile
    (BASELINE, "none", False),
    ("Triton", "none", False),
    ("channels-last", "none", False),
    ("Triton", "expansion", False),
    ("torch", "expansion", False),
    ("Triton", "blocks", False),
    ("torch", "blocks", False),
    ("Triton", "none", True),
    ("torch", "none", True),
)


def training(job: str, name: str, scale: Scale) -> None:
    """Measure a step of the reference and of ours, then checkpointing, then `torch.compile`."""
    image = scale.image(scale.batch).to(DEVICE)
    baseline = None
    for layers, again, compiled in WAYS[:2] if scale.tiny else WAYS:
        what = f"{layers}{', compiled' * compiled}{f', computed again: {again}' * (again != 'none')}"
        try:
            network = _network(name, scale, layers, again)
            if compiled:
                network = cast(nn.Module, torch.compile(network, dynamic=False))
            step = step_of(network, image)
            _, peak_mib = prepared(step, scale.calls)
            ms = 1000 * median_seconds({"": step}, max(1, scale.rounds // 4), warm=True)[""]
        except FAILURES as error:
            tell(job, what, failed=f"{error}"[:300])
            continue
        finally:
            torch.compiler.reset()
            if ON_CARD:
                torch.cuda.empty_cache()
        baseline = baseline or ms
        tell(job, what, ms=ms, peak_mib=peak_mib, times=baseline / ms)


def _network(name: str, scale: Scale, layers: str, again: Checkpointing) -> nn.Module:
    network = scale.network(name, deep_supervision=True).to(DEVICE)
    network.checkpoint(again)
    if layers != "torch":
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if layers == "Triton" and not use_triton_kernels(network, DEVICE):
        raise RuntimeError("the Triton kernels are not used here: the log says why")
    return network
