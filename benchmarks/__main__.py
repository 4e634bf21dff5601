"""`make bench`: run all benchmarks and print their tables with the machine's name."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

# Stock eager on Linux is mostly page faults of the allocator: all candidates run with it tuned.
ALLOCATOR = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"


def machine() -> str:
    """Processor, cores, and versions."""
    import torch

    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor()
    return (
        f"{processor}, {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}"
    )


def main() -> None:
    """Measure and print."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": ALLOCATOR, "OMP_WAIT_POLICY": "PASSIVE"}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], environment)
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=64, help="side of the cube in voxels")
    arguments = parser.parse_args()
    from . import forward, training_step

    report = [f"Machine: {machine()}; allocator tuned; medians of {arguments.rounds} rounds", ""]
    report += [forward.measure(arguments.side, arguments.rounds), training_step.measure(arguments.rounds)]
    sys.stdout.write("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
