"""Times and memory of several candidates on one device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

ON_CARD = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_CARD else "cpu")


@dataclass
class Candidate:
    """One way to do something, and what was seen of it."""

    run: Callable[[], Tensor]
    difference: float = 0.0  # relative
    peak_mib: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Milliseconds."""
        return statistics.median(self.milliseconds)


class Stopwatch:
    """Milliseconds between two points of the device's work, or of the CPU's where there is no card."""

    def __init__(self) -> None:
        self._points = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if ON_CARD else []
        self._start = time.perf_counter()
        if ON_CARD:
            self._points[0].record()

    def stop(self) -> None:
        """The second point."""
        if ON_CARD:
            self._points[1].record()
        self._end = time.perf_counter()

    def milliseconds(self) -> float:
        """Waits for the device."""
        if not ON_CARD:
            return 1000 * (self._end - self._start)
        self._points[1].synchronize()
        return self._points[0].elapsed_time(self._points[1])


def prepare(candidate: Candidate, calls: int) -> Tensor:
    """The calls that compile and allocate, and the peak of the device's memory; what the last one gave."""
    before = _memory_reset()
    for _ in range(calls):
        found = candidate.run()
    candidate.peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20 if ON_CARD else 0.0
    return found


def time_interleaved(measured: Mapping[str, Candidate], rounds: int) -> None:
    """One call of each in turn, round after round."""
    for _ in range(rounds):
        for candidate in measured.values():
            watch = Stopwatch()
            candidate.run()
            watch.stop()
            candidate.milliseconds.append(watch.milliseconds())


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Of all numbers together."""
    return float((found.float() - expected).norm() / expected.norm())


def _memory_reset() -> int:
    if not ON_CARD:
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()
