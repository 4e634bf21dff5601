"""A batch that Slicer requests from its worker, which reads and writes all files.

It covers either a folder, or the cases of a scene, whose voxels only Slicer can read: the worker asks for the
voxels of each case when its turn comes.
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
from .protocol import Order, error_event, error_from_event

_JOB_FILE = "batch.json"
_ROWS_FILE = "rows.json"


@dataclass(frozen=True)
class BatchJob:
    """The batch to do.

    place: the folder or file with the images.
    output: the folder of the results.
    order: the model and the options.
    resume: skip finished cases.
    cases: those of a scene, without images; None for all cases in `place`.
    structures: names or label values of the structures that results keep; None for all.
    """

    place: Path
    output: Path
    order: Order
    resume: bool = True
    cases: tuple[Case, ...] | None = None
    structures: tuple[str | int, ...] | None = None

    def write(self, folder: Path) -> None:
        """Write the job into a folder. Raises OSError."""
        told = {
            "place": str(self.place),
            "output": str(self.output),
            "order": self.order.to_json(),
            "resume": self.resume,
            "cases": None if self.cases is None else [case_to_json(case) for case in self.cases],
            "structures": self.structures,
        }
        (folder / _JOB_FILE).write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BatchJob:
        """The inverse of `write`. Raises `EngineProcessError` where the folder holds no whole job."""
        told = read_json(folder / _JOB_FILE, EngineProcessError)
        try:
            cases, structures = told["cases"], told["structures"]
            return cls(
                Path(told["place"]),
                Path(told["output"]),
                Order.from_json(told["order"]),
                told["resume"],
                None if cases is None else tuple(case_from_json(each) for each in cases),
                None if structures is None else tuple(structures),
            )
        except (KeyError, TypeError) as cause:
            raise EngineProcessError(f"The batch in {folder} is not complete: {cause!r}.") from cause


@dataclass(frozen=True)
class BatchOutcome:
    """The outcome of a batch: a row for each case, and the scenes in the folder, which are left to Slicer."""

    rows: tuple[Row, ...]
    scenes: tuple[Path, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the outcome beside the job. Raises OSError."""
        told = {"rows": [asdict(row) for row in self.rows], "scenes": [str(scene) for scene in self.scenes]}
        (folder / _ROWS_FILE).write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BatchOutcome:
        """The inverse of `write`. Raises `EngineProcessError` where the folder holds no outcome."""
        told = read_json(folder / _ROWS_FILE, EngineProcessError)
        return cls(tuple(Row(**row) for row in told["rows"]), tuple(Path(scene) for scene in told["scenes"]))


def case_to_json(case: Case) -> dict[str, Any]:
    """A case as JSON values."""
    return {
        "name": case.name,
        "images": case.images,
        "files": [str(file) for file in case.files],
        "source": case.source,
        "problem": case.problem and error_event(None, case.problem),
        "left_out": case.left_out,
        "content": case.content,
    }


def case_from_json(told: dict[str, Any]) -> Case:
    """The inverse of `case_to_json`. Raises KeyError and TypeError."""
    files: Sequence[str] = told["files"]
    problem = told["problem"] and error_from_event(told["problem"])
    return Case(
        told["name"],
        tuple(told["images"]),
        tuple(Path(file) for file in files),
        told["source"],
        problem,
        told["left_out"],
        content=told["content"],
    )
