"""Measure in child processes: peaks of memory, which never fall within one process, and starts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mednext.system.memory_settings import give_memory_back, tuned_environment

_STATUS = Path("/proc/self/status")


def peak_mib_of(work: Callable[[], object]) -> float:
    """MiB that this process takes at its peak during a call, beyond those before it."""
    give_memory_back()
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak to the present
    before = peak_mib()
    work()
    return peak_mib() - before


def peak_mib() -> float:
    """The peak of this process in MiB."""
    import resource  # not on Windows

    if not _STATUS.exists():  # macOS counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10


def numbers_of(module: str, *arguments: str) -> list[float]:
    """The numbers in the last line that `python -m module` prints, with a tuned allocator."""
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=tuned_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(word) for word in finished.stdout.splitlines()[-1].split()]


def median_seconds_of(command: Sequence[str], rounds: int) -> tuple[float, float]:
    """Median seconds of a command from start to end, and median seconds of processor time."""
    seconds, processor = [], []
    for _ in range(rounds):
        before, started = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, *command], stdout=subprocess.DEVNULL, env=tuned_environment(), check=True
        )
        seconds.append(time.perf_counter() - started)
        after = os.times()
        processor.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    return statistics.median(seconds), statistics.median(processor)
