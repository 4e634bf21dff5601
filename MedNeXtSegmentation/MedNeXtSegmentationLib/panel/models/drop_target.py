"""Files dropped onto the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt


class DropTarget(qt.QObject):
    """Takes one zip file or folder that is dropped onto a widget.

    onDropped: gets its path, after the drag has ended.
    """

    def __init__(self, widget: Any, onDropped: Callable[[str], None]) -> None:
        qt.QObject.__init__(self)
        self._onDropped = onDropped
        widget.acceptDrops = True
        widget.installEventFilter(self)

    def eventFilter(self, _widget: Any, event: Any) -> bool:
        """Called by Qt for every event of the widget."""
        if event.type() not in (qt.QEvent.DragEnter, qt.QEvent.Drop):
            return False
        path = _pathIn(event.mimeData())
        if not path:
            return False
        event.acceptProposedAction()
        if event.type() == qt.QEvent.Drop:
            qt.QTimer.singleShot(0, lambda: self._onDropped(path))
        return True


def _pathIn(mimeData: Any) -> str:
    """The path of the zip file or model folder; "" for other data, which Slicer may handle."""
    paths = [url.toLocalFile() for url in mimeData.urls()] if mimeData.hasUrls() else []
    if len(paths) == 1 and paths[0]:
        path = Path(paths[0])
        if path.suffix.lower() == ".zip" or (path / "model.json").is_file():
            return paths[0]
    return ""
