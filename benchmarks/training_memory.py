"""Peak memory of training: `python -m benchmarks.training_memory LAYERS CHECKPOINTING SIDE` prints MiB.

Three steps of MedNeXt-S on a CPU, batch 2, beyond what was there before the first. A process of its own:
its peak never falls.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import get_args

import torch
from mednext.network.mednext import Checkpointing
from mednext.system.memory_settings import tuned_environment

from .training_step import LAYERS, prepared, step_of


def peak_mib() -> float:
    """Peak of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells begins with the peak of the parent
        lines = status.read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def measure(layers: str, checkpointing: Checkpointing, side: int, tuned: bool) -> float:
    """MiB, of a child, with the allocator as `mednext-train` tunes it, or as the system has it."""
    command = [sys.executable, "-m", "benchmarks.training_memory", layers, checkpointing, str(side)]
    environment = tuned_environment()
    if not tuned:
        environment.pop("GLIBC_TUNABLES", None)
    finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(finished.stdout)


def main() -> None:
    """Measure in this process and print."""
    layers, checkpointing, side = sys.argv[1:]
    if layers not in LAYERS or checkpointing not in get_args(Checkpointing):
        raise SystemExit(f"LAYERS: {', '.join(LAYERS)}. CHECKPOINTING: {', '.join(get_args(Checkpointing))}.")
    network, image = prepared(layers, torch.randn(2, 1, *(int(side),) * 3))
    network.checkpoint(checkpointing)
    step = step_of(network, image)
    before = peak_mib()
    for _ in range(3):
        step()
    sys.stdout.write(f"{peak_mib() - before}\n")


if __name__ == "__main__":
    main()
