"""The table of names and colours that Slicer's export writes beside an image of label values."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import UnreadableImageError
from ..images.formats.readable import without_suffix
from ..segmentation.formats.color_table import SUFFIX


def table_beside(image: Path) -> dict[int, tuple[str, tuple[int, int, int] | None]]:
    """Name and colour of each value, from `liver.labels.csv` for `liver.nii.gz`; nothing without that file.

    Raises `UnreadableImageError` for a table that cannot be read.
    """
    table = image.with_name(without_suffix(image.name) + SUFFIX)
    if not table.is_file():
        return {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = {int(row["LabelValue"]): (row["Name"], _color(row)) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UnreadableImageError(f"{table} is no table of labels ({error}): remove it.") from error
    return {value: row for value, row in rows.items() if value > 0}


def _color(row: dict[str, str]) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (min(max(int(row[f"Color_{name}"]), 0), 255) for name in "RGB")
    except (KeyError, ValueError):
        return None
    return red, green, blue
