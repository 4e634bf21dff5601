"""Time several candidates in turn, round after round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def median_seconds(
    candidates: Mapping[str, Callable[[], object]], rounds: int, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each candidate, after one call of each that is not counted.

    With `warm`, this first call is left out: every candidate was called before.
    """
    for candidate in () if warm else candidates.values():
        candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            started = time.perf_counter()
            candidate()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}
