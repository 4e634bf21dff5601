"""Time of the native kernels in each pass of each level, for changes of the kernels.

    python -m benchmarks.passes --size S3 --side 128

"GFLOP/s" counts the multiplications and additions of convolutions and matrix products, not those of GELU,
norm and residual.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mednext.network.mednext import MedNeXt
from mednext.network.native import NativeMedNeXt
from mednext.network.native_library import UP, Depthwise, Kernels, Pointwise, native_library

from . import restart
from .candidates import CLASSES, Size
from .report import Row, machine, table

_STRIDES = ("", ", down", ", up")


class TimedKernels(Kernels):
    """Kernels that keep seconds and operations of each call, by pass and layer."""

    def __init__(self, library: ctypes.CDLL, name: str | None = None) -> None:
        super().__init__(library, name)
        self.calls: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = super().__getattr__(name)

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            result = kernel(*arguments)
            seconds = time.perf_counter() - started
            job = getattr(arguments[0], "_obj", None) if arguments else None  # the argument of ctypes.byref
            self.calls[name, _layer(job)].append((seconds, _operations(job)))
            return result

        return timed


def measure(kernels: TimedKernels, size: Size, side: int, rounds: int) -> str:
    """A table of the fastest of `rounds` forward passes; the first one is not counted."""
    network = NativeMedNeXt(MedNeXt.variant(size.variant, 1, CLASSES, size.kernel).eval(), kernels)
    image = torch.randn(1, 1, side, side, side)
    passes = []
    for _ in range(rounds + 1):
        kernels.calls.clear()
        started = time.perf_counter()
        network(image)
        passes.append((time.perf_counter() - started, dict(kernels.calls)))
    seconds, calls = min(passes[1:], key=lambda one: one[0])
    title = f"{size}, {side}³, {kernels.name}, {torch.get_num_threads()} threads: {seconds:.3f} s"
    return table(title, _rows(calls))


def _rows(calls: dict[tuple[str, str], list[tuple[float, int]]]) -> Iterator[Row]:
    for (kind, layer), each in calls.items():
        seconds, operations = (sum(column) for column in zip(*each, strict=True))
        yield {
            "pass": kind,
            "channels, side": layer,
            "calls": len(each),
            "ms": seconds * 1e3,
            "GFLOP/s": operations / seconds / 1e9 if operations else None,
        }


def _layer(job: object) -> str:
    grid = job.depthwise if isinstance(job, Pointwise) else job
    if not isinstance(grid, Depthwise):
        return ""
    hidden = f"→{job.hidden}→{job.out_channels}" if isinstance(job, Pointwise) else ""
    return f"{grid.channels}{hidden}, {grid.out_x}{_STRIDES[grid.stride]}"


def _operations(job: object) -> int:
    if isinstance(job, Pointwise):
        grid = job.depthwise
        voxels = grid.out_z * grid.out_y * grid.out_x
        return 2 * voxels * job.hidden * (grid.channels + job.out_channels)
    if isinstance(job, Depthwise):
        z, y, x = (job.in_z, job.in_y, job.in_x) if job.stride == UP else (job.out_z, job.out_y, job.out_x)
        return 2 * z * y * x * job.channels * job.k**3
    return 0


def main() -> None:
    """Measure and print."""
    restart("benchmarks.passes", sys.argv[1:])
    parser = argparse.ArgumentParser(prog="benchmarks.passes", description=__doc__)
    parser.add_argument("--size", default="S3", help="network, such as S3 for S with kernel 3")
    parser.add_argument("--side", type=int, default=128, help="of the patch")
    parser.add_argument(
        "--kernels", help="instruction set, such as avx512_bf16 (default: the best in float32)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    library = native_library()
    if library is None:
        parser.error("The library is missing or does not support this processor.")
    kernels = TimedKernels(library, arguments.kernels)
    with torch.inference_mode():
        text = measure(kernels, Size.parse(arguments.size), arguments.side, arguments.rounds)
    sys.stdout.write(f"{text}\n{machine()}.\n")


if __name__ == "__main__":
    main()
