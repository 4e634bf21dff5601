"""A batch that Slicer asks its worker for: no file of it is read, and none written, in Slicer's process.

Either everything in a folder, or the cases of one scene, whose voxels only Slicer can read: the worker asks
for those of a case when it is their turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..batch.case import Case
from ..batch.report import Row
from ..errors import EngineProcessError
from ..system.json_reading import read_json
from .protocol import Options, error_event, error_from_event, read_options

_JOB_FILE = "batch.json"
_ROWS_FILE = "rows.json"


@dataclass(frozen=True)
class BatchJob:
    """What there is to do.

    place: the folder or file with the images.
    output: the folder of the results.
    resume: leave finished cases as they are.
    cases: those of a scene, without images; None for all that lie in `place`.
    """

    place: Path
    output: Path
    options: Options
    resume: bool = True
    cases: tuple[Case, ...] | None = None

    def write(self, folder: Path) -> None:
        """Write the job into a folder. Raises OSError."""
        told = {
            "place": str(self.place),
            "output": str(self.output),
            "options": asdict(self.options),
            "resume": self.resume,
            "cases": None if self.cases is None else [_told(case) for case in self.cases],
        }
        (folder / _JOB_FILE).write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BatchJob:
        """The inverse of `write`. Raises `EngineProcessError` for what is none."""
        told = read_json(folder / _JOB_FILE, EngineProcessError)
        try:
            cases = told["cases"]
            return cls(
                Path(told["place"]),
                Path(told["output"]),
                read_options(told["options"]),
                told["resume"],
                None if cases is None else tuple(_case(each) for each in cases),
            )
        except (KeyError, TypeError) as cause:
            raise EngineProcessError(f"The batch in {folder} is not complete: {cause!r}.") from cause


@dataclass(frozen=True)
class BatchOutcome:
    """What became of a batch: a row for each case, and the scenes that were met and left to Slicer."""

    rows: tuple[Row, ...]
    scenes: tuple[Path, ...] = ()

    def write(self, folder: Path) -> None:
        """Write it beside the job. Raises OSError."""
        told = {"rows": [asdict(row) for row in self.rows], "scenes": [str(scene) for scene in self.scenes]}
        (folder / _ROWS_FILE).write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BatchOutcome:
        """The inverse of `write`. Raises `EngineProcessError` for what is none."""
        told = read_json(folder / _ROWS_FILE, EngineProcessError)
        return cls(tuple(Row(**row) for row in told["rows"]), tuple(Path(scene) for scene in told["scenes"]))


def _told(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "files": [str(file) for file in case.files],
        "source": case.source,
        "problem": case.problem and error_event(None, case.problem),
        "left_out": case.left_out,
    }


def _case(told: dict[str, Any]) -> Case:
    files: Sequence[str] = told["files"]
    problem = told["problem"] and error_from_event(told["problem"])
    return Case(
        told["name"], (), tuple(Path(file) for file in files), told["source"], problem, told["left_out"]
    )
