"""Measurements as lines of JSON, so that a job that fails loses none of those before it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ..report import table

MARK = '{"job": '  # a line that begins so is a record
WHOLE = "whole job"  # the last record of a job that ended

Record = dict[str, Any]  # "job", "measured", and a value for each column


def line_of(record: Record) -> str:
    """A record as a line."""
    return json.dumps(record) + "\n"


def tell(job: str, measured: str, **values: str | float | None) -> None:
    """Hand a record to the process that started this job."""
    sys.stdout.write(line_of({"job": job, "measured": measured, **values}))
    sys.stdout.flush()


def told(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records among lines of output, without one that was cut off."""
    for line in lines:
        if line.startswith(MARK) and line.rstrip().endswith("}"):
            yield json.loads(line)


def tables(records: Iterable[Record]) -> str:
    """A Markdown table for each job. A later record replaces a row."""
    jobs: dict[str, dict[str, Record]] = {}
    for record in records:
        row = {name: value for name, value in record.items() if name != "job"}
        jobs.setdefault(record["job"], {})[record["measured"]] = row
    return "\n".join(table(job, rows.values()) for job, rows in jobs.items())
