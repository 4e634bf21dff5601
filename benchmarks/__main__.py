"""`make bench`: run all benchmarks and print their tables with the machine's name."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from mednext.allocator import restart_tuned


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
    restart_tuned("benchmarks", sys.argv[1:])  # stock eager on Linux is mostly page faults
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=64, help="side of the cube in voxels")
    parser.add_argument(
        "--scan", type=int, nargs=3, default=(150, 256, 256), metavar=("Z", "Y", "X"), help="voxels of a CT"
    )
    arguments = parser.parse_args()
    from . import forward, resampling, training_step

    report = [f"Machine: {machine()}; allocator tuned; medians of {arguments.rounds} rounds", ""]
    report += [
        forward.measure(arguments.side, arguments.rounds),
        resampling.measure(tuple(arguments.scan), arguments.rounds),
        training_step.measure(arguments.rounds),
    ]
    sys.stdout.write("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
