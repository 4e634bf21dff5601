"""Time several candidates in turn, round after round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def median_seconds(
    candidates: Mapping[str, Callable[[], object]], rounds: int, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each candidate over `rounds`, after one call of each that is not counted.

    `warm` says that all of them have been called before.
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


def ratio_table(title: str, seconds: Mapping[str, float], baseline: str) -> str:
    """A Markdown table: seconds, and how many times faster than the baseline."""
    lines = [f"### {title}", "", "| | seconds | times as fast |", "|---|---|---|"]
    lines += [
        f"| {name} | {value:.3f} | {seconds[baseline] / value:.2f} |" for name, value in seconds.items()
    ]
    return "\n".join(lines) + "\n"
