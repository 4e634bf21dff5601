"""The order of the tab key: reading order, not the order of creation.

It follows the `.ui` files, since a layout's items do not survive in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import qt
import slicer


def readingOrder(uiPath: Callable[[str], str], file: str) -> list[tuple[str, bool]]:
    """The widgets of a `.ui` file, with sections at their places: name, and whether it contains others."""
    found = []
    for element in ElementTree.parse(uiPath(file)).getroot().iter():  # noqa: S314 - a file of ours
        name = element.get("name", "")
        if element.tag == "widget":
            found.append((name, element.find("layout") is not None or element.find("widget") is not None))
        elif element.tag == "layout" and name.endswith("Place"):
            found += readingOrder(uiPath, f"{name.removesuffix('Place')}.ui")
    return found


def orderTabs(
    panel: Any, order: Sequence[tuple[str, bool]], madeInPython: Mapping[str, Sequence[Any]]
) -> None:
    """Chain all widgets that the tab key reaches. Call it again after widgets are added or removed.

    madeInPython: by the name of a container, the widgets that come first in it.
    """
    chain: list[Any] = []
    window = panel.window()
    for widget in _inOrder(panel, order, madeInPython):
        # The list of a combo box is a window of its own, and Qt links no windows.
        if takesKeys(widget) and widget.window() == window and widget not in chain:
            chain.append(widget)
    for before, after in pairwise(chain):
        qt.QWidget.setTabOrder(before, after)


def _inOrder(
    panel: Any, order: Sequence[tuple[str, bool]], madeInPython: Mapping[str, Sequence[Any]]
) -> Iterator[Any]:
    byName = {child.objectName: child for child in widgetsIn(panel) if child.objectName}
    for name, isContainer in order:
        widget = byName.get(name)
        if widget is None:
            continue
        yield widget
        parts = madeInPython.get(name, ()) if isContainer else [widget]
        for part in parts:
            yield part
            yield from widgetsIn(part)


def takesKeys(widget: Any) -> bool:
    """Whether the tab key reaches a widget."""
    return bool(widget.focusPolicy & qt.Qt.TabFocus)


def partThatTakesKeys(widget: Any) -> Any:
    """The widget, or the part of it that takes keys: a selector of nodes is a frame around a list."""
    return widget if takesKeys(widget) else next(filter(takesKeys, widgetsIn(widget)), widget)


def widgetsIn(widget: Any) -> Iterator[Any]:
    """All widgets below this one; PythonQt's own `findChildren` does not work (see slicer.util)."""
    return (child for child in slicer.util.findChildren(widget) if child.isWidgetType())
