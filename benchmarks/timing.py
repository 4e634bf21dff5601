"""Time candidates in turn on the CPU or a card, and calls of a function within a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

Span = tuple[Any, Any]


def _moment() -> Any:
    """The time, or a point in the work of the card."""
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_of(spans: Sequence[Span]) -> float:
    """The sum of the seconds; waits for the card."""
    if not torch.cuda.is_available():
        return float(sum(end - begin for begin, end in spans))
    torch.cuda.synchronize()
    return sum(begin.elapsed_time(end) for begin, end in spans) / 1000


def median_seconds(
    candidates: Mapping[str, Callable[[], object]], rounds: int, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each candidate, round after round, so that a busy machine slows all alike.

    A first call of each is not counted; with `warm` it is left out, since every candidate was called before.
    """
    for candidate in () if warm else candidates.values():
        candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            begin = _moment()
            candidate()
            seconds[name].append(seconds_of([(begin, _moment())]))
    return {name: statistics.median(values) for name, values in seconds.items()}


@contextmanager
def timed_calls(owner: object, name: str) -> Iterator[list[Span]]:
    """The calls of a function within the block, for `seconds_of`."""
    spans: list[Span] = []
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        begin = _moment()
        try:
            return original(*arguments, **options)
        finally:
            spans.append((begin, _moment()))

    with patch.object(owner, name, call):
        yield spans
