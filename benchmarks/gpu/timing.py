"""Time and memory of several candidates on one device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

ON_CARD = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_CARD else "cpu")


@dataclass
class Candidate:
    """One way to compute something, with its measurements."""

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
        """Record the second point."""
        if ON_CARD:
            self._points[1].record()
        self._end = time.perf_counter()

    def milliseconds(self) -> float:
        """Wait for the device, and return the time."""
        if not ON_CARD:
            return 1000 * (self._end - self._start)
        self._points[1].synchronize()
        return self._points[0].elapsed_time(self._points[1])


def prepare(candidate: Candidate, calls: int) -> Tensor:
    """Make the calls that compile and allocate, record the peak memory, and return the last result."""
    before = _memory_reset()
    for _ in range(calls):
        found = candidate.run()
    candidate.peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20 if ON_CARD else 0.0
    return found


def time_interleaved(measured: Mapping[str, Candidate], rounds: int) -> None:
    """Time one call of each candidate in turn, round after round."""
    for _ in range(rounds):
        for candidate in measured.values():
            watch = Stopwatch()
            candidate.run()
            watch.stop()
            candidate.milliseconds.append(watch.milliseconds())


@contextmanager
def watched(
    owner: object, name: str, note: Callable[[Any], object] = lambda result: None
) -> Iterator[list[Stopwatch]]:
    """A stopwatch for each call of a function within the block; `note` is given each result."""
    watches: list[Stopwatch] = []
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        watch = Stopwatch()
        result = original(*arguments, **options)
        watch.stop()
        watches.append(watch)
        note(result)
        return result

    with patch.object(owner, name, call):
        yield watches


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, relative to the norm of the expected numbers."""
    return float((found.float() - expected).norm() / expected.norm())


def _memory_reset() -> int:
    if not ON_CARD:
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()
