"""The module `qt`: all classes of PySide6, patched once to PythonQt's conventions."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from slicer_contract.qt_classes import MODULES, QtCore, QtGui, QtWidgets, object_classes, shiboken6

from .attributes import class_name, patch_attributes
from .connections import connect, disconnect
from .dialogs import patch_dialogs
from .event_loop import keep_lock
from .properties import patch_properties
from .ui_loader import QUiLoader


@functools.cache
def patch_qt() -> None:
    """Patch PySide6's classes in place; before any stand-in class is made of them."""
    for cls in object_classes():
        patch_properties(cls)
    _add_members_of_every_object()
    patch_attributes()
    patch_dialogs()
    _add_old_names()
    keep_lock()


def make_qt_module() -> ModuleType:
    """The module of `import qt`."""
    patch_qt()
    qt: Any = ModuleType("qt", "stand-in for PythonQt's qt module")
    for module in MODULES:
        for name in dir(module):
            if not name.startswith("_"):
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = QUiLoader
    return qt


def _add_members_of_every_object() -> None:
    base: Any = QtCore.QObject
    base.name = base.__dict__["objectName"]
    base.connect, base.disconnect = connect, disconnect
    base.className = class_name
    base.delete = _delete


def _delete(widget: Any) -> None:
    """As a method: shiboken6's built-in function would not be bound to the widget."""
    shiboken6.delete(widget)


def _add_old_names() -> None:
    for cls in (QtCore.QCoreApplication, QtCore.QEventLoop, QtCore.QThread, QtGui.QDrag):
        if not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec
    # PythonQt takes an integer, PySide6 only the enum.
    color_name = QtGui.QColor.name
    color: Any = QtGui.QColor
    color.name = lambda self, style=0: color_name(self, QtGui.QColor.NameFormat(style))
    widgets: Any = QtWidgets
    widgets.QWidget.isWidgetType = QtCore.QObject.isWidgetType
