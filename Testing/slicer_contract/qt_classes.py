"""PySide6's classes, imported as the stand-in needs them: offscreen, and with enums that are integers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# PythonQt's enum values are integers: PySide6 makes IntEnum and IntFlag of them with this bit.
sys.pyside6_option_python_enum = 0x2  # type: ignore[attr-defined]

import shiboken6  # noqa: E402  (it reads the option already)
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets  # noqa: E402

MODULES = (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork)

__all__ = [
    "MODULES",
    "QtCore",
    "QtGui",
    "QtNetwork",
    "QtUiTools",
    "QtWidgets",
    "object_classes",
    "qt_class",
    "shiboken6",
]


def qt_class(name: str) -> type | None:
    """The class of Qt with this name."""
    found = (getattr(module, name, None) for module in MODULES)
    return next((c for c in found if isinstance(c, type)), None)


def object_classes() -> list[type]:
    """Every class of Qt with a meta-object, bases before derived classes."""
    classes: dict[type, None] = {}
    for name in _names_of_all_modules():
        found = qt_class(name)
        if found and issubclass(found, QtCore.QObject):
            ancestors = (c for c in reversed(found.__mro__) if issubclass(c, QtCore.QObject))
            classes.update(dict.fromkeys(ancestors))
    return list(classes)


def _names_of_all_modules() -> Iterator[str]:
    for module in MODULES:
        yield from dir(module)
