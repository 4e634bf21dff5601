"""Count the executions over all calls of `make fuzz`, and write the table in docs/reliability.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .targets import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make fuzz -->", "<!-- end of fuzzing -->"


class Counts:
    """The counted executions, in a file to which each call adds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        self.lines = [json.loads(line) for line in text.splitlines()]

    def done(self, reader: str, seed: str) -> int:
        """The executions of a reader with this seed: the number of the next one."""
        return sum(
            line["executions"] for line in self.lines if (line["reader"], line["seed"]) == (reader, seed)
        )

    def add(self, reader: str, seed: str, outcome: Outcome) -> None:
        """Add the executions after those that are counted."""
        findings = [finding.end for finding in outcome.findings]
        line = {"reader": reader, "seed": seed, "executions": outcome.executions}
        self.lines.append({**line, "read": outcome.ends["read"], "findings": findings})
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(self.lines[-1]) + "\n")

    def table(self, readers: Iterable[str]) -> str:
        """A row for each of these readers, and one for all."""
        sums: dict[str, Counter[str]] = {name: Counter() for name in readers}
        for line in self.lines:
            found = len(line["findings"])
            counts = {"executions": line["executions"], "read": line["read"], "findings": found}
            sums.setdefault(line["reader"], Counter()).update(counts)
        sums["all"] = sum(sums.values(), Counter())
        rows = [
            "| reader of | executions | read | refused with a sentence | findings |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, of in sums.items():
            refused = of["executions"] - of["read"] - of["findings"]
            rows.append(
                f"| {name} | {of['executions']:,} | {of['read']:,} | {refused:,} | {of['findings']} |"
            )
        return "\n".join(rows)


def write_page(text: str, page: Path = PAGE) -> None:
    """Replace the table of the page."""
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
