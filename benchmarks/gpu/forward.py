"""The forward pass of one patch on a card: its error, and its speed beside torch, MONAI and torch.compile."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial

import torch
from mednext.network.mednext import MedNeXt
from mednext.network.triton import TritonMedNeXt
from torch import Tensor, nn

from .records import COMPILED, EAGER, OURS, tell
from .scale import CLASSES, Scale
from .timing import DEVICE, ON_CARD, Candidate, prepare, relative_difference, time_interleaved

FAILURES = (RuntimeError, OSError, ImportError, AssertionError, subprocess.CalledProcessError)
HALVES = {"Triton fp16": torch.float16, "Triton bf16": torch.bfloat16}


def autocast(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """A forward pass in mixed precision, where there is a card."""
    with torch.autocast("cuda", dtype=torch.float16) if ON_CARD else nullcontext():
        return network(image)


@torch.inference_mode()
def check(job: str, name: str, scale: Scale) -> None:
    """Compare the kernels with the reference in fp32, and the gradients of the training kernels."""
    network, image = _network(name, scale), scale.image(scale.check_sides).to(DEVICE)
    expected = network(image)
    for dtype, most in ((torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)):
        for again in ("launched", "as a graph"):
            what = f"{str(dtype).removeprefix('torch.')}, {again}"
            try:
                fast = TritonMedNeXt(network, dtype, DEVICE)
                found = fast(image)
                found = fast(image) if again == "as a graph" and ON_CARD else found
                difference = relative_difference(found, expected)
                tell(job, what, difference=difference, right="yes" if difference <= most else "NO")
            except FAILURES as error:
                tell(job, what, right=f"failed: {error}"[:300])
    with torch.inference_mode(False), torch.enable_grad():
        _check_training(job, name, scale)


def _check_training(job: str, name: str, scale: Scale) -> None:
    from mednext_training.triton_blocks import TOLERANCE, difference, probes

    for block in probes(int(name[1:])) if not scale.tiny else ():
        what = f"training, {type(block).__name__}"
        try:
            found = difference(block, DEVICE)
            tell(job, what, difference=found, right="yes" if found <= TOLERANCE else "NO")
        except FAILURES as error:
            tell(job, what, right=f"failed: {error}"[:300])


@torch.inference_mode()
def forward(job: str, name: str, scale: Scale) -> None:
    """Ours first and alone, so that a failure of a peer loses none of its numbers; then all in turn."""
    network, image = _network(name, scale), scale.image(scale.sides).to(DEVICE)
    expected = network(image)
    found: dict[str, Callable[[], Tensor]] = {
        what: partial(_fast(network, dtype), image) for what, dtype in HALVES.items()
    }
    measured = _measured(job, found, expected, scale, {})
    channels_last = image.contiguous(memory_format=torch.channels_last_3d)
    found = {
        EAGER: partial(autocast, network, image),
        "eager fp16, channels-last": partial(autocast, _channels_last(network), channels_last),
    }
    peer = _monai(name) if not scale.tiny else None
    if peer is not None:
        found["MONAI, eager fp16"] = partial(autocast, peer, image)
    _measured(job, found, expected, scale, measured)


@torch.inference_mode()
def compiled(job: str, name: str, scale: Scale) -> None:
    """`torch.compile` beside ours."""
    network, image = _network(name, scale), scale.image(scale.sides).to(DEVICE)
    expected = network(image)
    ours = {OURS: partial(_fast(network, torch.float16), image)}
    measured = _measured(job, ours, expected, scale, {})
    channels_last = image.contiguous(memory_format=torch.channels_last_3d)
    found: dict[str, Callable[[], Tensor]] = {
        COMPILED: partial(autocast, _compiled(network, scale), image),
        f"{COMPILED}, channels-last": partial(
            autocast, _compiled(_channels_last(_network(name, scale)), scale), channels_last
        ),
    }
    _measured(job, found, expected, scale, measured, COMPILED)


@torch.inference_mode()
def batches(job: str, name: str, scale: Scale) -> None:
    """Milliseconds of a patch when several, such as its mirrored copies, are computed together."""
    network = _network(name, scale)
    fast = _fast(network, torch.float16)
    for count in (1,) if scale.tiny else (1, 2, 4, 8):
        candidate = Candidate(partial(fast, scale.image(scale.sides, count).to(DEVICE)))
        prepare(candidate, scale.calls)
        time_interleaved({"": candidate}, scale.rounds)  # each shape has its own buffers: not in turn
        peak = candidate.peak_mib
        tell(job, f"{count} together", ms=candidate.median, ms_each=candidate.median / count, peak_mib=peak)


@torch.inference_mode()
def kernels(job: str, name: str, scale: Scale) -> None:
    """Milliseconds of one pass by kernel."""
    fast = _fast(_network(name, scale), torch.float16)
    image = scale.image(scale.sides).to(DEVICE)
    for _ in range(3):
        fast(image)
    if not ON_CARD:
        tell(job, "no card", launches=0.0)
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        fast(image)
        torch.cuda.synchronize()
    times: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for event in profile.events():
        times[event.name] += event.device_time_total / 1000
        launches[event.name] += 1
    for kernel, spent in times.most_common(16):
        tell(job, kernel[:80], ms=spent, launches=float(launches[kernel]))


def _measured(
    job: str,
    runs: Mapping[str, Callable[[], Tensor]],
    expected: Tensor,
    scale: Scale,
    others: dict[str, Candidate],
    baseline: str = EAGER,
) -> dict[str, Candidate]:
    """Time the candidates that run, in turn with `others`, and record their ratios to the baseline."""
    alive = dict(others)
    for what, run in runs.items():
        try:
            candidate = Candidate(run)
            found = prepare(candidate, scale.calls)
        except FAILURES as error:
            tell(job, what, failed=f"{error}"[:300])
            continue
        if found.shape == expected.shape and not what.startswith("MONAI"):  # another network
            candidate.difference = relative_difference(found, expected)
        alive[what] = candidate
    for candidate in alive.values():
        candidate.milliseconds.clear()
    time_interleaved(alive, scale.rounds)
    for what, candidate in alive.items():
        peer = alive.get(baseline)
        ratio = {f"times {baseline}": peer.median / candidate.median} if peer else {}
        tell(
            job, what, ms=candidate.median, fastest_ms=min(candidate.milliseconds),
            peak_mib=candidate.peak_mib, difference=candidate.difference, **ratio,
        )  # fmt: skip
    return alive


def _network(name: str, scale: Scale) -> MedNeXt:
    return scale.network(name).eval().to(DEVICE)


def _fast(network: MedNeXt, dtype: torch.dtype) -> TritonMedNeXt:
    return TritonMedNeXt(network, dtype, DEVICE)


def _channels_last(network: MedNeXt) -> MedNeXt:
    from copy import deepcopy

    return deepcopy(network).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _compiled(network: MedNeXt, scale: Scale) -> Callable[[Tensor], Tensor]:
    return network if scale.tiny else torch.compile(network, dynamic=False)


def _monai(name: str) -> nn.Module | None:
    """MONAI's network, or None; its B, M and L differ from the paper's."""
    try:
        from monai.networks.nets.mednext import create_mednext
    except ImportError:
        return None
    return create_mednext(name[0], 3, 1, CLASSES, int(name[1:])).eval().to(DEVICE)
