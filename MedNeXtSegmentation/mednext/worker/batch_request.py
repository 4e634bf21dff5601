"""A batch that Slicer requests from its worker, which reads and writes all files.

It covers either a folder, or the cases of a scene, whose voxels only Slicer can read: the worker asks for the
voxels of each case when its turn comes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..batch.case import Case
from ..batch.report import Row
from ..errors import EngineProcessError
from ..system.json_reading import read_json
from ..system.json_values import from_json, to_json
from .protocol import Order

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
        (folder / _JOB_FILE).write_text(json.dumps(to_json(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BatchJob:
        """The inverse of `write`. Raises `EngineProcessError` where the folder holds no whole job."""
        try:
            return from_json(cls, read_json(folder / _JOB_FILE, EngineProcessError))
        except ValueError as cause:
            raise EngineProcessError(f"The batch in {folder} is not complete: {cause}.") from cause


@dataclass(frozen=True)
class BatchOutcome:
    """The outcome of a batch: a row for each case, and the scenes in the folder, which are left to Slicer."""

    rows: tuple[Row, ...]
    scenes: tuple[Path, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the outcome beside the job. Raises OSError."""
        (folder / _ROWS_FILE).write_text(json.dumps(to_json(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BatchOutcome:
        """The inverse of `write`. Raises `EngineProcessError` where the folder holds no outcome."""
        try:
            return from_json(cls, read_json(folder / _ROWS_FILE, EngineProcessError))
        except ValueError as cause:
            raise EngineProcessError(f"The outcome in {folder} is not complete: {cause}.") from cause
