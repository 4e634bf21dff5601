"""Rows of combo boxes, and the height of tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def showRows(box: Any, rows: Iterable[tuple[str, Any]], chosen: Any) -> None:
    """Give a combo box rows of text and data, one of them chosen, without a signal that anything changed.

    chosen: the data of a row; for that of none, no row is chosen.
    """
    wasBlocked = box.blockSignals(True)
    box.clear()
    for text, data in rows:
        box.addItem(text, data)
    box.setCurrentIndex(box.findData(chosen))
    box.blockSignals(wasBlocked)


def fitHeight(table: Any, mostRows: int) -> None:
    """Make a table as high as its rows; more than `mostRows` scroll."""
    table.resizeRowsToContents()
    rows = sum(table.rowHeight(row) for row in range(min(table.rowCount, mostRows)))
    table.setFixedHeight(table.horizontalHeader().sizeHint.height() + rows + 4)
