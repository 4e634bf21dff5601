"""Write the growth of memory, handles and threads into docs/reliability.md."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make soak -->", "<!-- end of soak -->"


def table(lines: Sequence[str], machine: str) -> str:
    """The medians of the first and the last fifth of the runs."""
    rows = [f"Measured on {datetime.date.today()}, {machine}.", "", "| | runs | measured | first | last |"]
    rows.append("|---|---|---|---|---|")
    return "\n".join([*rows, *(row for line in lines for row in _rows(json.loads(line)))])


def _rows(soak: dict) -> Iterator[str]:
    begin = f"{soak['subject']} | {soak['runs']}"
    for name, (first, last) in soak["growths"].items():
        yield f"| {begin} | {name} | {first:.4g} | {last:.4g} |"
        begin = " | "


def main(file: str, machine: str) -> None:
    """Replace the table of the page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    text = f"{head}{BEGIN}\n{table(lines, machine)}\n{END}{rest.partition(END)[2]}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
