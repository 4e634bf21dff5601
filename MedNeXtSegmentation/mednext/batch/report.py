"""The report of a batch: `report.csv`, with a row for each case, rewritten after every case (less
often once that takes long).

UTF-8 with a byte order mark, commas, quotes where needed: Excel opens it with a double click where its list
separator is the comma, and with Data → From Text/CSV elsewhere.
"""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..model.sides import ASYMMETRY
from ..segmentation.intensities import is_intensity
from ..system.atomic import explaining, replacing
from ..system.locks import locked
from ..system.shown_text import csv_cell, from_csv_cell, shown

REPORT_FILE = "report.csv"
DONE, FAILED, LEFT_OUT = "done", "failed", "left out"

_VOLUME = " (mL)"
_QUICK_S = 0.05  # a report that is written faster than this is written after every case
_SHARE = 0.05  # of the time for writing longer ones

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """The outcome of a case.

    Attributes:
        case: its name.
        status: "done", "failed" or "left out".
        files: its images, relative to the input folder.
        output: its result, relative to the output folder.
        uncertainty: the image of its uncertainty, relative to the output folder, or "".
        dicom_seg: its DICOM SEG, relative to the output folder, or "".
        stored: address of the archive that has the DICOM SEG, or "".
        model_sha256: of the model's description, which includes the SHA-256 of its weights.
        seconds: duration of the run.
        warning: for the physician to know before using the result.
        error, message: class and sentence of the failure, or why the case was left out.
        volumes_ml: of each structure; 0 for one that was not found.
        intensities: mean and standard deviation of each structure in each channel, by the names of their
            columns; empty where they were not measured.
        asymmetry_percent: left - right, in percent of the mean of both volumes; None unless a run found both
            sides by itself.
    """

    case: str
    status: str = DONE
    files: str = ""
    output: str = ""
    uncertainty: str = ""
    dicom_seg: str = ""
    stored: str = ""
    model: str = ""
    model_version: str = ""
    model_sha256: str = ""
    mednext: str = ""
    device: str = ""
    time: str = ""
    seconds: str = ""
    warning: str = ""
    error: str = ""
    message: str = ""
    volumes_ml: dict[str, float] = field(default_factory=dict)
    intensities: dict[str, float] = field(default_factory=dict)
    asymmetry_percent: float | None = None


_MEASURED = ("volumes_ml", "intensities", "asymmetry_percent")  # in columns of their own
_COLUMNS = [each.name for each in fields(Row) if each.name not in _MEASURED]


class Report:
    """A report file, to which several processes may add rows at the same time.

    Raises `OutputError` when the file is not a report.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: dict[str, Row] = {}
        self._took_s, self._written_at = 0.0, 0.0
        self.rows()

    def rows(self) -> list[Row]:
        """The rows in the file."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return []
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file)
                if not {"case", "status"} <= set(table.fieldnames or ()):
                    raise OutputError(f"{self.path} is not the report of a batch: move it away.")
                return [_row(cells) for cells in table]
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise OutputError(f"{self.path} cannot be read ({error}): move it away.") from error

    def put(self, row: Row) -> None:
        """Add a row, or replace that of the same case.

        A file that is open in Excel is updated later, as is one of many thousand rows: see `catch_up`.
        """
        row = _shown(row)
        self._waiting[row.case] = row
        if self._took_s < _QUICK_S or self._took_s < _SHARE * (time.monotonic() - self._written_at):
            self.catch_up()

    def catch_up(self) -> None:
        """Write the rows that are not in the file yet; where that is impossible, they wait."""
        try:
            self.flush()
        except OutputError as error:
            logger.warning("The report will be written later: %s", error)

    def flush(self) -> None:
        """Write the rows that are not in the file yet. Raises `OutputError` when that is impossible."""
        if not self._waiting:
            return
        begin = time.monotonic()
        with explaining(self.path), locked(self.path.with_name(f".{self.path.name}.lock")):
            rows = {row.case: row for row in self.rows()} | self._waiting
            with replacing(self.path) as temporary:
                temporary.write_bytes(table_of(rows[case] for case in sorted(rows, key=str.casefold)))
        self._waiting = {}
        self._written_at = time.monotonic()
        self._took_s = self._written_at - begin


def table_of(rows: Iterable[Row]) -> bytes:
    """The content of the file: a heading, then a line for each row."""
    rows = list(rows)
    structures = list(dict.fromkeys(name for row in rows for name in row.volumes_ml))
    measured = list(dict.fromkeys(name for row in rows for name in row.intensities))
    text = io.StringIO(newline="")
    sides = [ASYMMETRY] if any(row.asymmetry_percent is not None for row in rows) else []
    writer = csv.DictWriter(text, [*_COLUMNS, *map(_column, structures), *sides, *map(csv_cell, measured)])
    writer.writeheader()
    for row in rows:
        cells = {name: csv_cell(getattr(row, name)) for name in _COLUMNS}
        cells |= {_column(name): f"{ml:.4f}" for name, ml in row.volumes_ml.items()}
        if row.asymmetry_percent is not None:
            cells[ASYMMETRY] = f"{row.asymmetry_percent:.1f}"
        writer.writerow(cells | {csv_cell(name): f"{value:.6g}" for name, value in row.intensities.items()})
    return text.getvalue().encode("utf-8-sig")


def _column(structure: str) -> str:
    return csv_cell(structure + _VOLUME)


def _row(cells: dict[str, str]) -> Row:
    texts: dict[str, Any] = {name: from_csv_cell(cells.get(name) or "") for name in _COLUMNS}
    volumes = {
        from_csv_cell(name).removesuffix(_VOLUME): float(value)
        for name, value in cells.items()
        if name and name.endswith(_VOLUME) and value
    }
    named = {from_csv_cell(name): value for name, value in cells.items() if name and value}
    measured = {name: float(value) for name, value in named.items() if is_intensity(name)}
    difference = float(cells[ASYMMETRY]) if cells.get(ASYMMETRY) else None
    return replace(Row(**texts), volumes_ml=volumes, intensities=measured, asymmetry_percent=difference)


def _shown(row: Row) -> Row:
    """The row as it is read back from the file, so that a case has only one name."""
    texts: dict[str, Any] = {name: shown(getattr(row, name)) for name in _COLUMNS}
    volumes = {shown(name): ml for name, ml in row.volumes_ml.items()}
    measured = {shown(name): value for name, value in row.intensities.items()}
    return replace(row, **texts, volumes_ml=volumes, intensities=measured)
