"""Slicer's colour table file: the name, colour and codes of each label value, comma-separated.

Columns as in Slicer's Docs/developer_guide/modules/colors.md (5.10 and newer).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ...model.labels import Code, Label
from ...system.atomic import replacing

SUFFIX = ".labels.csv"  # as Slicer's own export names it

_ROLES = {
    "Category": "category",
    "Type": "type",
    "TypeModifier": "type_modifier",
    "Region": "region",
    "RegionModifier": "region_modifier",
}
_PARTS = {"CodingScheme": "scheme", "CodeValue": "value", "CodeMeaning": "meaning"}


def write_color_table(path: Path, labels: Sequence[Label]) -> None:
    """Write the table of `color_table`; Slicer loads it with "Add Data".

    Raises `OutputError` or `DiskSpaceError` when the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(color_table(labels))


def color_table(labels: Sequence[Label]) -> bytes:
    """The content of a file with a row for each label, in UTF-8."""
    codes = [f"{role}_{part}" for role in _ROLES for part in _PARTS]
    columns = ["LabelValue", "Name", "Color_R", "Color_G", "Color_B", "Color_A", *codes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for label in labels:
        writer.writerow([label.value, _plain(label.name), *label.color, 255, *_codes(label)])
    return text.getvalue().encode()


def _codes(label: Label) -> list[str]:
    cells = []
    for role in _ROLES.values():
        code: Code | None = getattr(label.terminology, role) if label.terminology else None
        cells += [_plain(getattr(code, part)) if code else "" for part in _PARTS.values()]
    return cells


def _plain(text: str) -> str:
    """The text without quotation marks, which VTK's reader does not support inside a value."""
    return " ".join(text.replace('"', "'").split())
