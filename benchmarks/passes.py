"""Time of the native kernels in each pass of each level, against the speed of the processor.

    python -m benchmarks.passes --sizes S3 --side 128
    python -m benchmarks.passes --sizes S3 --side 128 --without-gelu    # needs CMake and a compiler

It prints tables. "GFLOP/s" counts the multiplications and additions of convolutions and matrix products,
not those of GELU, norm and residual. The ceiling is torch's product of two large matrices.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mednext.errors import DeviceError
from mednext.network.native import NativeMedNeXt
from mednext.network.native_library import UP, Depthwise, Kernels, Pointwise, load_library, native_library
from mednext.system.memory_settings import restart_tuned

from . import ROOT
from .candidates import Size, networks
from .report import Row, table

Times = dict[
    tuple[str, str], list[tuple[float, int]]
]  # seconds and operations of each call, by (pass, layer)

_STRIDES = ("", ", down", ", up")


class TimedKernels(Kernels):
    """Kernels that note how long each call takes."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        super().__init__(library, name)
        self.times: Times = defaultdict(list)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = super().__getattr__(name)

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            result = kernel(*arguments)
            self.times[name, _what(arguments)].append((time.perf_counter() - started, _operations(arguments)))
            return result

        return timed


def measure(library: ctypes.CDLL, size: Size, side: int, name: str, rounds: int) -> str:
    """A table of the fastest of `rounds` forward passes; the first one is not counted."""
    kernels = TimedKernels(library, name)
    network = NativeMedNeXt(networks(size)[1], kernels)
    image = torch.randn(1, 1, side, side, side)
    found: list[tuple[float, Times]] = []
    for _ in range(rounds + 1):
        kernels.times.clear()
        started = time.perf_counter()
        network(image)
        found.append(
            (time.perf_counter() - started, {key: list(calls) for key, calls in kernels.times.items()})
        )
    seconds, times = min(found[1:], key=lambda one: one[0])
    whole: Times = defaultdict(list)
    for (kind, _), calls in times.items():
        whole[kind, "all"] += calls
    in_kernels = sum(spent for calls in whole.values() for spent, _ in calls)
    title = (
        f"{size}, {side}³, {name}, {torch.get_num_threads()} threads: {seconds:.3f} s, "
        f"of it outside of the kernels {seconds - in_kernels:.3f}"
    )
    return table(title, (_row(*key, calls) for key, calls in (times | whole).items()))


def ceiling(dtype: torch.dtype) -> float:
    """GFLOP/s of a large matrix product of torch."""
    side = 2048
    a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9


def library_without_gelu(scratch: Path) -> ctypes.CDLL | None:
    """The library built in a folder with the identity for GELU: its time tells the cost of GELU."""
    source = scratch / "source"
    shutil.copytree(ROOT / "MedNeXtSegmentation" / "native", source)
    for header in source.glob("gelu_*.h"):
        header.write_text(
            "#pragma once\nnamespace {\ninline Vec gelu(Vec x) { return x; }\n}\n", encoding="ascii"
        )
    prefix = scratch / "prefix"
    for arguments in (
        ["-S", str(source), "-B", str(scratch / "tree"), f"-DCMAKE_INSTALL_PREFIX={prefix}"],
        ["--build", str(scratch / "tree"), "--config", "Release"],
        ["--install", str(scratch / "tree"), "--config", "Release"],
    ):
        subprocess.run(["cmake", *arguments], check=True, stdout=subprocess.DEVNULL)
    return load_library(next((prefix / "mednext").iterdir()))


def main() -> None:
    """Measure and print."""
    restart_tuned("benchmarks.passes", sys.argv[1:])
    parser = argparse.ArgumentParser(prog="benchmarks.passes", description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["S3"], help="networks such as S3 for S with kernel 3")
    parser.add_argument("--side", type=int, default=128, help="of the patch")
    parser.add_argument("--kernels", nargs="+", default=["avx512", "avx512_bf16"], help="instruction sets")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-gelu", action="store_true", help="also measure a library without GELU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        libraries = {"": native_library()}
        if arguments.without_gelu:
            libraries["Without GELU"] = library_without_gelu(Path(scratch))
        for dtype in (torch.float32, torch.bfloat16):
            sys.stdout.write(f"Ceiling, {dtype}: {ceiling(dtype):.0f} GFLOP/s\n")
        for title, library in libraries.items():
            if library is None:
                sys.stdout.write("The library is missing or does not support this processor.\n")
                continue
            for size in arguments.sizes:
                for name in arguments.kernels:
                    try:
                        table = measure(library, Size.parse(size), arguments.side, name, arguments.rounds)
                    except DeviceError as error:
                        table = f"{error}\n"
                    sys.stdout.write(f"\n{title}\n{table}")
                    sys.stdout.flush()


def _job(arguments: tuple[Any, ...]) -> object:
    return getattr(arguments[0], "_obj", None) if arguments else None  # the argument of ctypes.byref


def _what(arguments: tuple[Any, ...]) -> str:
    job = _job(arguments)
    grid = job.depthwise if isinstance(job, Pointwise) else job
    if not isinstance(grid, Depthwise):
        return ""
    channels = f"{grid.channels}"
    if isinstance(job, Pointwise):
        channels += f"→{job.hidden}→{job.out_channels}"
    return f"{channels}, {grid.out_x}{_STRIDES[grid.stride]}"


def _operations(arguments: tuple[Any, ...]) -> int:
    job = _job(arguments)
    if isinstance(job, Pointwise):
        grid = job.depthwise
        voxels = grid.out_z * grid.out_y * grid.out_x
        return 2 * voxels * job.hidden * (grid.channels + job.out_channels)
    if isinstance(job, Depthwise):
        sides = (job.in_z, job.in_y, job.in_x) if job.stride == UP else (job.out_z, job.out_y, job.out_x)
        return 2 * sides[0] * sides[1] * sides[2] * job.channels * job.k**3
    return 0


def _row(kind: str, what: str, calls: list[tuple[float, int]]) -> Row:
    seconds = sum(spent for spent, _ in calls)
    operations = sum(count for _, count in calls)
    return {
        "pass": kind,
        "channels, side": what,
        "calls": len(calls),
        "ms": seconds * 1e3,
        "GFLOP/s": operations / seconds / 1e9 if operations else None,
    }


if __name__ == "__main__":
    main()
