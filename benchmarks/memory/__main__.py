"""`make memory`: measure the cases that are not measured yet, and write the table.

Each case runs in a process of its own, as in the worker, whose peak Linux tells. A second call goes on after
the cases that are in the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import ROOT
from ..children import numbers_of
from ..report import Row, Value, machine
from ..report import table as table_of
from .cases import cases

PAGE = ROOT / "docs" / "performance.md"
COLUMNS = ("run", "peak, MiB", "plan, MiB", "plan / peak")
BEGIN, END = "<!-- written by make memory -->", "<!-- end of memory -->"

_CHILD = f"{__package__}.child"


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("build/memory.jsonl"), help="measurements, kept")
    parser.add_argument("--only", nargs="+", default=[], help="names of cases")
    parser.add_argument("--again", action="store_true", help="measure cases again")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after so many")
    parser.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    options.file.parent.mkdir(exist_ok=True)
    known = measured(options.file)
    for case in cases():
        wanted = not options.only or case.name in options.only
        if not wanted or (case.name in known and not options.again):
            continue
        if time.monotonic() - begin > options.seconds:
            break
        with tempfile.TemporaryDirectory() as folder:
            prepare_and_measure(case.name, folder, options.file)
    text = table(measured(options.file), PAGE.read_text(encoding="utf-8"))
    sys.stdout.write(f"{text}\n\n{machine()}\n")
    if options.page:
        write_page(f"{text}\n\n{machine()}.")


def prepare_and_measure(name: str, folder: str, file: Path) -> None:
    """Measure a case and add it to the file."""
    subprocess.run([sys.executable, "-m", _CHILD, "prepare", name, folder], check=True)
    peak, idle, computed, seconds = numbers_of(_CHILD, "measure", name, folder)
    line = {"name": name, "peak": peak, "idle": idle, "computed": computed, "seconds": seconds}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")
    sys.stdout.write(f"{name}: {peak:.0f} MiB, {seconds:.1f} s\n")
    sys.stdout.flush()


def table(found: Mapping[str, Mapping[str, float]], page: str) -> str:
    """Each measured case with the plan of now; both without Slicer's copy of the result.

    Rows of a page that were not measured anew stay as they were.
    """
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    former = {row[0]: row for row in cells}
    rows: list[Row] = []
    for case in cases():
        row: Sequence[Value] | None = former.get(case.name)
        if case.name in found:
            plan, peak = case.plan().worker / 2**20, found[case.name]["peak"]
            row = (case.name, peak, plan, plan / peak)
        if row:
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return "\n".join(table_of("", rows).splitlines()[2:])


def write_page(text: str) -> None:
    """Replace the table in docs/performance.md."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def measured(file: Path) -> dict[str, dict[str, float]]:
    """The last measurement of each case."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line.pop("name"): line for line in map(json.loads, lines)}


if __name__ == "__main__":
    main(sys.argv[1:])
