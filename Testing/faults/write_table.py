"""Write the counts of injected faults into docs/reliability.md."""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make faults -->", "<!-- end -->"


def table(lines: list[str], machine: str) -> str:
    """The table of all lines; the counts of equal subjects and faults are added."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        one = json.loads(line)
        sums.setdefault((one["subject"], one["fault"]), Counter()).update(one["outcomes"])
    rows = [f"Counted on {datetime.date.today()}, {machine}.", "", "| of | fault | injected | outcomes |"]
    rows.append("|---|---|---|---|")
    for (subject, fault), outcomes in sums.items():
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        rows.append(f"| {subject} | {fault} | {outcomes.total()} | {told} |")
    return "\n".join(rows)


def main(file: str, machine: str) -> None:
    """Replace the table of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    PAGE.write_text(f"{before}{BEGIN}\n{table(lines, machine)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
