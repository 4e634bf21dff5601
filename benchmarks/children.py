"""Measure in child processes: peaks of memory, which never fall within one process, and starts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mednext.system.memory_settings import give_memory_back, tuned_environment


def present_mib() -> float:
    """Memory of this process now, in MiB; on other systems than Linux, its peak until now."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_mib()
    return _kib(status, "VmRSS:") / 2**10


def forget_peak() -> None:
    """Give freed memory back and, on Linux, reset the peak."""
    give_memory_back()
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """The peak of this process in MiB (macOS counts in bytes)."""
    import resource  # not on Windows

    status = Path("/proc/self/status")
    if status.exists():  # getrusage's value starts from the peak of the parent
        return _kib(status, "VmHWM:") / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def numbers_of(module: str, *arguments: str, tuned: bool = True) -> list[float]:
    """The numbers in the last line that `python -m module` prints, by default with a tuned allocator."""
    environment = tuned_environment()
    if not tuned:
        environment.pop("GLIBC_TUNABLES", None)
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
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


def _kib(status: Path, name: str) -> int:
    lines = status.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])
