"""A batch that Slicer requests from its worker, which reads and writes all files.

It covers either a folder, or the cases of a scene, whose voxels only Slicer can read: the worker asks for the
voxels of each case when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..batch.case import Case
from ..batch.report import Row
from .exchange import read_object, write_object
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
        write_object(folder, _JOB_FILE, self)

    @classmethod
    def read(cls, folder: Path) -> BatchJob:
        """The inverse of `write`. Raises `EngineProcessError` where the folder holds no whole job."""
        return read_object(cls, folder, _JOB_FILE)


@dataclass(frozen=True)
class BatchOutcome:
    """The outcome of a batch: a row for each case, and the scenes in the folder, which are left to Slicer."""

    rows: tuple[Row, ...]
    scenes: tuple[Path, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the outcome beside the job. Raises OSError."""
        write_object(folder, _ROWS_FILE, self)

    @classmethod
    def read(cls, folder: Path) -> BatchOutcome:
        """The inverse of `write`. Raises `EngineProcessError` where the folder holds no outcome."""
        return read_object(cls, folder, _ROWS_FILE)
