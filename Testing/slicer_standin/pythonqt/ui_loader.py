"""`qt.QUiLoader`: `.ui` files with the widgets of CTK and Slicer, and their declared connections."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from slicer_contract.qt_classes import QtCore, QtUiTools, QtWidgets

from ..errors import StandInError
from .attributes import stands_for_cpp
from .connections import connect


class QUiLoader(QtUiTools.QUiLoader):
    """Raises StandInError for what Qt's own loader only prints: unknown classes, objects and signals."""

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        cls = _standin_class(className)
        if cls is None:
            if not hasattr(QtWidgets, className) and className != "Line":
                raise StandInError(f"the .ui file uses the widget class {className}, which has no stand-in")
            return super().createWidget(className, parent, name)
        widget = cls(parent)
        QtCore.QObject.setObjectName(widget, name)
        return widget

    def load(self, device: Any, parent: Any = None) -> Any:
        """Load from a path or an open QFile."""
        root = ET.fromstring(_text(device))
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise StandInError(f"QUiLoader: {self.errorString()}")
        for connection in connections if connections is not None else ():
            _make_connection(widget, connection)
        return widget


def _text(device: Any) -> str:
    if isinstance(device, (str, os.PathLike)):
        return Path(device).read_text(encoding="utf-8")
    return bytes(device.readAll()).decode()


def _standin_class(name: str) -> type | None:
    for module in ("ctk", "slicer"):
        cls = getattr(sys.modules.get(module), name, None)
        if isinstance(cls, type) and stands_for_cpp(cls):
            return cls
    return None


def _make_connection(widget: Any, connection: ET.Element) -> None:
    sender, receiver = (_object(widget, connection.findtext(role, "")) for role in ("sender", "receiver"))
    connect(sender, connection.findtext("signal", ""), receiver, connection.findtext("slot", ""))


def _object(widget: Any, name: str) -> Any:
    if QtCore.QObject.property(widget, "objectName") == name:
        return widget
    found = QtCore.QObject.findChild(widget, QtCore.QObject, name)
    if found is None:
        raise StandInError(f"a connection of the .ui file names an object that is not there: {name!r}")
    return found
