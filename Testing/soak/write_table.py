"""Write the growth of memory, handles and threads into docs/reliability.md."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make soak -->", "<!-- end of soak -->"


def table(former: str, lines: Sequence[str], machine: str) -> str:
    """The medians of the first and the last fifth of the runs; what was not measured anew stays as it was."""
    blocks: dict[str, list[str]] = {}
    for row in former.partition("|---|---|---|---|---|")[2].split("\n"):
        if row.startswith("|"):
            subject = row.split("|")[1].strip() or next(reversed(blocks))
            blocks.setdefault(subject, []).append(row)
    for line in lines:
        soak = json.loads(line)
        blocks[soak["subject"]] = list(_rows(soak))
    rows = [f"Measured on {datetime.date.today()}, {machine}.", "", "| | runs | measured | first | last |"]
    rows.append("|---|---|---|---|---|")
    return "\n".join([*rows, *(row for block in blocks.values() for row in block)])


def _rows(soak: dict) -> Iterator[str]:
    begin = f"{soak['subject']} | {soak['runs']}"
    for name, (first, last) in soak["growths"].items():
        yield f"| {begin} | {name} | {first:.4g} | {last:.4g} |"
        begin = " | "


def main(file: str, machine: str) -> None:
    """Replace the table of the page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    former, _, after = rest.partition(END)
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    PAGE.write_text(f"{head}{BEGIN}\n{table(former, lines, machine)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
