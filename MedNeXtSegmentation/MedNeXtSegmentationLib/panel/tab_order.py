"""The tab key goes through the panel as one reads it, not in the order in which its parts were made."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import qt

_ROLES = (qt.QFormLayout.LabelRole, qt.QFormLayout.FieldRole, qt.QFormLayout.SpanningRole)


def orderTabs(panel: Any) -> None:
    """Chain everything that the tab key reaches; to be called again when parts have come or gone."""
    for before, after in pairwise(_reached(panel)):
        qt.QWidget.setTabOrder(before, after)


def _reached(widget: Any) -> Iterator[Any]:
    """The widget and what lies in it, as far as the tab key goes there."""
    if widget.focusPolicy & qt.Qt.TabFocus:
        yield widget
    for part in _parts(widget):
        yield from _reached(part)


def _parts(widget: Any) -> Iterator[Any]:
    """The widgets in a widget, in the order of its layout; those that are in no layout come last."""
    laidOut = list(_widgetsOf(widget.layout())) if widget.layout() else []
    yield from laidOut
    for child in widget.children():
        if child.isWidgetType() and not child.isWindow() and child not in laidOut:
            yield child


def _widgetsOf(layout: Any) -> Iterator[Any]:
    for item in _items(layout):
        if item.widget():
            yield item.widget()
        elif item.layout():
            yield from _widgetsOf(item.layout())


def _items(layout: Any) -> Iterator[Any]:
    """A form's rows from top to bottom, wherever they were inserted; other layouts as they are."""
    if isinstance(layout, qt.QFormLayout):
        items = (layout.itemAt(row, role) for row in range(layout.rowCount()) for role in _ROLES)
        yield from filter(None, items)
    else:
        yield from (layout.itemAt(index) for index in range(layout.count()))
