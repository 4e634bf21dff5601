"""`qt.QUiLoader`: `.ui` files with the widgets of CTK and Slicer, and their declared connections."""

from __future__ import annotations

import functools
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slicer_contract.qt_classes import QtCore, QtUiTools, QtWidgets, qt_class

from ..errors import StandInError
from .attributes import stands_for_cpp
from .connections import connect


class QUiLoader:
    """Raises StandInError for unknown classes, objects and signals, which Qt's own loader only prints."""

    def load(self, device: Any, parent: Any = None) -> Any:
        """Load from a path or an open QFile."""
        content, enumerations, connections = _prepared(_text(device))
        buffer = QtCore.QBuffer()
        buffer.setData(content)
        buffer.open(QtCore.QIODevice.ReadOnly)
        loader = _loader()
        widget = loader.load(buffer, parent)
        if widget is None:
            raise StandInError(f"QUiLoader: {loader.errorString()}")
        for name, property_name, text in enumerations:
            setattr(_object(widget, name), property_name, _enumeration_value(text))
        for sender, signal, receiver, slot in connections:
            connect(_object(widget, sender), signal, _object(widget, receiver), slot)
        return widget


class _Loader(QtUiTools.QUiLoader):
    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        cls = _standin_class(className)
        if cls is None:
            return super().createWidget(className, parent, name)
        widget = cls(parent)
        QtCore.QObject.setObjectName(widget, name)
        return widget


@functools.cache
def _loader() -> _Loader:
    """One for all files, since Qt looks for plugins whenever one is made."""
    return _Loader(QtCore.QCoreApplication.instance())


@functools.cache
def _prepared(text: str) -> tuple[bytes, list[tuple[str, str, str]], list[list[str]]]:
    """A file without its connections and the enum values that Qt cannot read; these; the connections.

    Every test of a panel loads the same files.
    """
    root = ET.fromstring(text)
    # Here, for an exception in createWidget, which C++ calls, would end the process.
    _check_classes(root)
    connections = [
        [connection.findtext(part, "") for part in ("sender", "signal", "receiver", "slot")]
        for connection in root.iterfind("connections/connection")
    ]
    for element in root.findall("connections"):
        root.remove(element)
    enumerations = list(_take_enumerations(root))
    return ET.tostring(root), enumerations, connections


def _check_classes(root: ET.Element) -> None:
    for element in root.iter("widget"):
        name = element.get("class", "")
        if _standin_class(name) is None and not hasattr(QtWidgets, name) and name != "Line":
            raise StandInError(f"the .ui file uses the widget class {name}, which has no stand-in")


def _take_enumerations(root: ET.Element) -> Iterator[tuple[str, str, str]]:
    """Take out the enum values that Qt cannot read for a class of Python: widget, property, text."""
    for element in root.iter("widget"):
        cls = _standin_class(element.get("class", ""))
        for info in element.findall("property") if cls else ():
            name, text = info.get("name", ""), info.findtext("enum") or info.findtext("set")
            if text and isinstance(getattr(cls, name, None), QtCore.Property):
                element.remove(info)
                yield element.get("name", ""), name, text


def _enumeration_value(text: str) -> int:
    """`Qt::AlignLeft|Qt::AlignTop` as a number."""
    value = 0
    for part in text.split("|"):
        scope, key = part.split("::")[0], part.rpartition("::")[2]
        value |= int(getattr(_standin_class(scope) or qt_class(scope), key))
    return value


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


def _object(widget: Any, name: str) -> Any:
    if QtCore.QObject.property(widget, "objectName") == name:
        return widget
    found = QtCore.QObject.findChild(widget, QtCore.QObject, name)
    if found is None:
        raise StandInError(f"a connection of the .ui file names an object that is not there: {name!r}")
    return found
