"""Measurements as lines of JSON, so that a job that fails loses none of those before it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..report import Value, table

OURS, EAGER, COMPILED = "Triton fp16", "eager fp16", "torch.compile fp16"
NETWORKS = {"S3": 2.0, "B3": 2.3, "M3": 3.3, "L3": 4.0, "L5": 7.0}  # goals in ms at 128³ on an H200
GOALS = (  # job, row, column, value
    *((f"forward:{name}", OURS, "ms", f"at most {ms}") for name, ms in NETWORKS.items()),
    *((f"forward:{name}", OURS, f"times {EAGER}", "at least 6") for name in NETWORKS),
    *((f"compiled:{name}", OURS, f"times {COMPILED}", "at least 3") for name in NETWORKS),
    ("end to end:S3", "mirrored, again", "share", "at least 0.7"),
    ("end to end:S3", "not mirrored, again", "share", "at least 0.7"),
    ("training:S3", "best", "times", "at least 1.5"),
    ("training:L3", "best", "times", "at least 1.5"),
)  # fmt: skip
MARK = "@"  # a line of a job's output that is a record


@dataclass(frozen=True)
class Record:
    """One row of a job's table: its name, and a value for each column."""

    job: str
    what: str
    values: Mapping[str, Value]


def tell(job: str, what: str, **values: Value) -> None:
    """Hand a record to the process that started this job."""
    sys.stdout.write(f"{MARK}{json.dumps(asdict(Record(job, what, values)))}\n")
    sys.stdout.flush()


def told(line: str) -> Record | None:
    """The record in a line of a job's output; None in any other line."""
    if not line.startswith(MARK):
        return None
    try:
        return Record(**json.loads(line.removeprefix(MARK)))
    except (ValueError, TypeError):
        return None


def read(path: Path) -> list[Record]:
    """The records of an earlier run, without a line that was cut off."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := told(MARK + line))]


def append(path: Path, record: Record) -> None:
    """Append a record to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def tables(records: Iterable[Record], tiny: bool = False) -> str:
    """Markdown: the goals, unless sizes are tiny, and a table for each job. A later record replaces a row."""
    jobs: dict[str, dict[str, Mapping[str, Value]]] = {}
    for record in records:
        jobs.setdefault(record.job, {})[record.what] = record.values
    goals = [
        {
            "": f"{job}, {what}, {column}",
            "measured": jobs.get(job, {}).get(what, {}).get(column, "not measured"),
            "goal": goal,
        }
        for job, what, column, goal in GOALS
    ]
    shown = {} if tiny else {"Goals": goals}
    shown |= {job: [{"": what, **values} for what, values in rows.items()] for job, rows in jobs.items()}
    return "\n".join(table(title, rows) for title, rows in shown.items())
