"""What was measured: one line of JSON each, so that nothing is lost when a later job fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

GOALS_MS = {"S3": 2.0, "B3": 2.3, "M3": 3.3, "L3": 4.0, "L5": 7.0}  # at 128³ on an H200
GOAL_EAGER, GOAL_COMPILED, GOAL_SHARE, GOAL_TRAINING = 6.0, 3.0, 0.7, 1.5
OURS, EAGER, COMPILED = "Triton fp16", "eager fp16", "torch.compile fp16"
MARK = "@"  # a line of a job's output that is a record

Value = float | str


@dataclass(frozen=True)
class Record:
    """One row of a job's table: `what` was measured, and what was seen."""

    job: str
    what: str
    values: Mapping[str, Value]


def tell(job: str, what: str, **values: Value) -> None:
    """Hand a record to the process that started this job."""
    sys.stdout.write(f"{MARK}{json.dumps(asdict(Record(job, what, values)))}\n")
    sys.stdout.flush()


def told(line: str) -> Record | None:
    """The record in a line of a job's output, if it is one."""
    if not line.startswith(MARK):
        return None
    try:
        return Record(**json.loads(line.removeprefix(MARK)))
    except (ValueError, TypeError):
        return None


def read(path: Path) -> list[Record]:
    """The records of an earlier run; a line that was cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := told(MARK + line))]


def append(path: Path, record: Record) -> None:
    """Write a record behind the others."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def tables(records: Iterable[Record], tiny: bool = False) -> str:
    """Markdown: the goals first, then a table for each job; a later record replaces an earlier one.

    Tiny sizes are not held against the goals.
    """
    jobs: dict[str, dict[str, Mapping[str, Value]]] = {}
    for record in records:
        jobs.setdefault(record.job, {})[record.what] = record.values
    first = "Tiny sizes: these numbers tell nothing but that it runs.\n" if tiny else _goals(jobs)
    return "\n".join([first, *(_table(job, rows) for job, rows in jobs.items())])


def _goals(jobs: Mapping[str, Mapping[str, Mapping[str, Value]]]) -> str:
    def seen(job: str, what: str, value: str) -> float | None:
        found = jobs.get(job, {}).get(what, {}).get(value)
        return found if isinstance(found, float) else None

    lines = ["### Goals", "", "| | measured | goal | |", "|---|---|---|---|"]

    def line(name: str, value: float | None, goal: float, at_most: bool = False) -> None:
        reached = "" if value is None else "yes" if (value <= goal if at_most else value >= goal) else "no"
        shown = "not measured" if value is None else f"{value:.2f}"
        lines.append(f"| {name} | {shown} | {'≤' if at_most else '≥'} {goal:g} | {reached} |")

    for network, goal in GOALS_MS.items():
        best = [value for kind in (OURS, "Triton bf16") if (value := seen(f"forward:{network}", kind, "ms"))]
        line(f"{network}, 128³, ms", min(best, default=None), goal, at_most=True)
    for network in GOALS_MS:
        ours, eager = (seen(f"forward:{network}", kind, "ms") for kind in (OURS, EAGER))
        line(f"{network}, times eager", eager / ours if ours and eager else None, GOAL_EAGER)
        ours, compiled = (seen(f"compiled:{network}", kind, "ms") for kind in (OURS, COMPILED))
        line(f"{network}, times torch.compile", compiled / ours if ours and compiled else None, GOAL_COMPILED)
    for way in ("mirrored", "not mirrored"):
        share = seen("end to end:S3", f"{way}, again", "share")
        line(f"network's share of a CT's time, {way}", share, GOAL_SHARE)
    for network in ("S3", "L3"):
        line(f"training step, {network}", seen(f"training:{network}", "best", "times"), GOAL_TRAINING)
    return "\n".join(lines) + "\n"


def _table(job: str, rows: Mapping[str, Mapping[str, Value]]) -> str:
    columns = list(dict.fromkeys(name for values in rows.values() for name in values))
    lines = [f"### {job}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for what, values in rows.items():
        lines.append(f"| {what} | {' | '.join(_shown(values.get(name, '')) for name in columns)} |")
    return "\n".join(lines) + "\n"


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return value.replace("\n", " ").replace("|", "/")
    return (
        f"{value:.1e}"
        if value and abs(value) < 0.01
        else f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )
