"""`make bench-gpu`: the forward pass on a CUDA card, one table; without a card it says so and ends well.

    python -m benchmarks.gpu --networks S3 L5 --side 128 --tune --kernels

Times are of CUDA events, medians of interleaved rounds, for one patch with 14 classes and random weights.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from mednext.network import MedNeXt
from mednext.triton_network import TritonMedNeXt, is_supported
from torch import Tensor, nn

GOALS_MS = {"S3": 2.0, "B3": 2.3, "M3": 3.3, "L3": 4.0, "L5": 7.0}  # at 128³ on an H200
CLASSES = 14
EAGER, COMPILED = "eager fp16", "torch.compile fp16"


@dataclass
class Candidate:
    """One way to run a network, and what was seen of it."""

    run: Callable[[], Tensor]
    difference: float = 0.0  # from fp32, relative
    peak_mib: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Milliseconds."""
        return statistics.median(self.milliseconds)


def autocast(network: nn.Module, image: Tensor) -> Tensor:
    """A forward pass in mixed precision."""
    with torch.autocast("cuda", dtype=torch.float16):
        return network(image)


def candidates(name: str, network: MedNeXt, image: Tensor) -> dict[str, Candidate]:
    """All that can run here; the names of the kinds that cannot are written to the console."""
    channels_last = image.contiguous(memory_format=torch.channels_last_3d)
    found: dict[str, Callable[[], Tensor]] = {
        EAGER: partial(autocast, network, image),
        "eager fp16, channels-last": partial(autocast, network, channels_last),
        COMPILED: partial(autocast, torch.compile(network), image),
    }
    try:
        from monai.networks.nets.mednext import create_mednext

        peer = create_mednext(
            name[0], spatial_dims=3, in_channels=1, out_channels=CLASSES, kernel_size=int(name[1:])
        )
        found["MONAI, eager fp16"] = partial(autocast, peer.eval().to(image.device), image)
    except ImportError:
        sys.stdout.write("MONAI is not installed: not measured.\n")
    if is_supported(network, image.device):
        for kind, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
            found[f"Triton {kind}"] = partial(TritonMedNeXt(network, dtype, image.device), image)
    else:
        sys.stdout.write("Triton's kernels do not run here: not measured.\n")
    return {kind: Candidate(run) for kind, run in found.items()}


def prepare(candidate: Candidate, expected: Tensor) -> None:
    """The calls that compile and allocate; peak memory, and the difference from the reference in fp32."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        found = candidate.run()
    candidate.peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20
    if found.shape == expected.shape:
        candidate.difference = float((found.float() - expected).norm() / expected.norm())


def time_interleaved(measured: dict[str, Candidate], rounds: int) -> None:
    """One call of each in turn, round after round."""
    for _ in range(rounds):
        for candidate in measured.values():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            candidate.run()
            end.record()
            end.synchronize()
            candidate.milliseconds.append(start.elapsed_time(end))


def table(name: str, side: int, measured: dict[str, Candidate]) -> str:
    """Markdown."""
    goal = GOALS_MS.get(name, 0.0) * (side / 128) ** 3
    lines = [
        f"### MedNeXt-{name[0]} k{name[1:]}, {side}³",
        "",
        "| | ms | times eager | times torch.compile | peak MiB | difference from fp32 | goal ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, candidate in measured.items():
        ratios = (measured[base].median / candidate.median for base in (EAGER, COMPILED))
        target = f"{goal:.1f}" if goal and kind.startswith("Triton") else ""
        lines.append(
            f"| {kind} | {candidate.median:.2f} | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} "
            f"| {candidate.peak_mib:.0f} | {candidate.difference:.1e} | {target} |"
        )
    return "\n".join(lines) + "\n"


def batches(network: MedNeXt, image: Tensor, rounds: int) -> str:
    """How much a patch costs when several, such as its mirrored copies, are worked on together."""
    fast = TritonMedNeXt(network, torch.float16, image.device)
    measured = {
        count: Candidate(partial(fast, image.expand(count, -1, -1, -1, -1))) for count in (1, 2, 4, 8)
    }
    for candidate in measured.values():
        for _ in range(2):
            candidate.run()
        time_interleaved({"": candidate}, rounds)  # each shape has its own buffers: not interleaved
    costs = ", ".join(f"{count}: {seen.median / count:.2f}" for count, seen in measured.items())
    return f"Triton fp16, ms a patch by the number of patches at once: {costs}\n"


def kernel_times(network: MedNeXt, image: Tensor) -> str:
    """Milliseconds of one pass by kernel."""
    fast = TritonMedNeXt(network, torch.float16, image.device)
    for _ in range(3):
        fast(image)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        fast(image)
        torch.cuda.synchronize()
    times: Counter[str] = Counter()
    for event in profile.events():
        times[event.name] += event.device_time_total / 1000
    return "\n".join(f"    {spent:.3f} ms  {kernel}" for kernel, spent in times.most_common(12)) + "\n"


def tuned_tiles(network: MedNeXt, image: Tensor, rounds: int) -> str:
    """What the tiles cost as they are chosen and as they are measured best, and which these are."""
    fast = TritonMedNeXt(network, torch.float16, image.device)
    medians = []
    for tune in (False, True):
        if tune:
            fast.tune(image)
        candidate = Candidate(partial(fast, image))
        for _ in range(3):
            candidate.run()
        time_interleaved({"": candidate}, rounds)
        medians.append(candidate.median)
    lines = [f"Tiles as chosen {medians[0]:.2f} ms, as measured best {medians[1]:.2f} ms:"]
    return "\n".join([*lines, *(f"    {line}" for line in fast.tiles())]) + "\n"


@torch.inference_mode()
def measure(name: str, side: int, rounds: int, tune: bool, kernels: bool) -> str:
    """All there is to know about one network."""
    device = torch.device("cuda")
    torch.manual_seed(0)
    network = MedNeXt.variant(name[0], 1, CLASSES, kernel_size=int(name[1:])).eval().to(device)
    image = torch.randn(1, 1, side, side, side, device=device)
    measured = candidates(name, network, image)
    expected = network(image)
    for candidate in measured.values():
        prepare(candidate, expected)
    time_interleaved(measured, rounds)
    report = [table(name, side, measured)]
    if is_supported(network, device):
        del measured
        report.append(batches(network, image, rounds))
        report += [kernel_times(network, image)] if kernels else []
        report += [tuned_tiles(network, image, rounds)] if tune else []
    return "\n".join(report)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--networks", nargs="+", default=list(GOALS_MS), help="such as S3 for S with kernel 3"
    )
    parser.add_argument("--side", type=int, default=128, help="side of the cube in voxels")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tune", action="store_true", help="also measure which tiles are the fastest")
    parser.add_argument("--kernels", action="store_true", help="also tell which kernels take how long")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.stdout.write("no CUDA device here\n")
        return
    # The reference in fp32 is the judge: not in the tensor cores' shorter float32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    sys.stdout.write(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {arguments.rounds} rounds\n\n"
    )
    for name in arguments.networks:
        report = measure(name, arguments.side, arguments.rounds, arguments.tune, arguments.kernels)
        sys.stdout.write(report + "\n")
        sys.stdout.flush()
        torch.compiler.reset()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
