"""The report on a data set: a line for each case and its problems, as CSV and in words."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mednext.errors import InputError
from mednext.system.atomic import replacing
from mednext.system.shown_text import csv_cell

from .case_check import CheckedCase

TAKEN, FAULTY, LEFT_OUT = "taken", "faulty", "left out"
_COLUMNS = ("case", "result", "remarks", "size", "spacing_mm", "orientation", "patient", "voxels", "files")
_MOST_LINES = 40


@dataclass
class Report:
    """The outcome of each case.

    Attributes:
        cases: all that were read.
        left_out: name or path of each file or case that was left out, and the reason.
        remarks: sentences on the data set as a whole.
        same_patient: the sound cases of each patient with several.
        orientation: in which most sound cases are stored, such as "LPS", and all are written.
        origins: the archive that each temporary folder was unpacked from, which stands for it in words.
    """

    cases: Sequence[CheckedCase]
    left_out: Sequence[tuple[str, str]] = ()
    remarks: list[str] = field(default_factory=list)
    same_patient: Sequence[Sequence[str]] = ()
    orientation: str = ""
    origins: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def sound(self) -> list[CheckedCase]:
        return [case for case in self.cases if not case.problems]

    @property
    def faulty(self) -> list[CheckedCase]:
        return [case for case in self.cases if case.problems]

    @property
    def facts(self) -> dict[str, str]:
        """To be kept with a plan: a digest of the sound cases' names and voxels, and their orientation."""
        lines = sorted((case.name, case.digests, case.label_digest) for case in self.sound)
        digest = hashlib.sha256(repr(lines).encode()).hexdigest()
        return {"cases_sha256": digest, "orientation": self.orientation}

    def count_of_faulty(self) -> str:
        """How many cases have problems, with the first of them."""
        first = self.faulty[0]
        return self._told(
            f"{len(self.faulty)} of {len(self.cases)} cases have problems ({first.name}: {first.problems[0]})"
        )

    def write(self, path: Path) -> None:
        """Write a table with a line per case. Raises `OutputError` and `DiskSpaceError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            table.writerows([csv_cell(self._told(cell)) for cell in _row(case)] for case in self.cases)
            table.writerows((csv_cell(name), LEFT_OUT, csv_cell(why)) for name, why in self.left_out)

    def text(self) -> str:
        """The report for people: problems first, then doubts, and a count at the end."""
        lines = [f"{case.name}: {problem}" for case in self.faulty for problem in case.problems]
        lines += [f"{case.name} (note): {note}" for case in self.sound for note in case.notes]
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES:] = [f"... and {len(lines) - _MOST_LINES} more lines in the table."]
        lines += self.remarks
        counts = [f"{len(self.cases)} cases", f"{len(self.sound)} sound", f"{len(self.faulty)} with problems"]
        if self.left_out:
            reasons = ", ".join(sorted({why for _, why in self.left_out}))
            counts.append(f"{len(self.left_out)} files left out ({reasons})")
        return self._told("\n".join([*lines, "; ".join(counts) + "."]) + "\n")

    def _told(self, text: str) -> str:
        return named_by_archive(text, self.origins)


def named_by_archive(text: str, origins: Mapping[Path, Path]) -> str:
    """The text with the archive in the place of each temporary folder."""
    for folder, archive in origins.items():
        text = text.replace(str(folder), str(archive))
    return text


def check_taught(report: Report) -> None:
    """Refuse cases in which nothing is labelled, all together. Raises `InputError`."""
    if report.sound and not any(case.values for case in report.sound):
        raise InputError("None of the cases has a structure: there is nothing to learn from.")


def _row(case: CheckedCase) -> tuple[str, ...]:
    grid = case.grid
    files = [*case.found.images, case.found.label]
    return (
        case.name,
        FAULTY if case.problems else TAKEN,
        " ".join([*case.problems, *case.notes]),
        " ".join(str(side) for side in grid.size) if grid else "",
        " ".join(f"{side:.5g}" for side in grid.spacing) if grid else "",
        grid.orientation if grid else "",
        ", ".join(sorted(case.patients)),
        " ".join(f"{value}:{count}" for value, count in case.voxels.items() if value),
        " ".join(str(path) for path in files if path is not None),
    )
