"""Read and set attributes of widgets with PythonQt's rules.

Named children and dynamic properties are attributes; a C++ object takes no new attributes; slots and signals
cannot be overwritten.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable
from typing import Any

from slicer_contract.qt_classes import QtCore, object_classes

from .connections import connect, disconnect

# PySide6's own C functions; they bind methods that are static and not static at once (QFile.exists).
_getattributes: dict[type, Callable[[Any, str], Any]] = {}

_plain_setattr = next(c for c in QtCore.QObject.__mro__ if c.__name__ == "Object").__setattr__


def patch_attributes() -> None:
    """Let all classes of Qt answer as PythonQt does."""
    classes = object_classes()
    for cls in classes:
        if "__getattribute__" in cls.__dict__:
            _getattributes[cls] = cls.__dict__["__getattribute__"]
    _getattributes.setdefault(QtCore.QObject, QtCore.QObject.__getattribute__)
    for cls in _getattributes:
        cls.__getattribute__ = _getattribute  # type: ignore[method-assign,assignment]
    for cls in classes:
        if "__setattr__" in cls.__dict__:
            cls.__setattr__ = _setattr  # type: ignore[method-assign,assignment]
    QtCore.QObject.__getattr__ = _getattr  # type: ignore[attr-defined]


def stands_for_cpp(cls: type) -> bool:
    """Whether objects of this class are C++ objects in Slicer; a module's own subclasses are not."""
    return cls.__module__.startswith("PySide6") or "_stands_for_cpp" in cls.__dict__


def class_name(widget: Any) -> str:
    """QObject.className(): the nearest class of C++."""
    return next(cls.__name__ for cls in type(widget).__mro__ if stands_for_cpp(cls))


@functools.cache
def _original_of(cls: type) -> Callable[[Any, str], Any]:
    return next(_getattributes[each] for each in cls.__mro__ if each in _getattributes)


def _getattribute(self: Any, name: str) -> Any:
    # PySide6's C code answers these two before it looks into the class.
    if name == "connect":
        return types.MethodType(connect, self)
    if name == "disconnect":
        return types.MethodType(disconnect, self)
    value = _original_of(type(self))(self, name)
    if type(value) is QtCore.Property:
        value = value.fget(self)
    if type(value) is list and isinstance(getattr(type(self), name, None), QtCore.Property):
        return tuple(value)
    return value


def _getattr(self: Any, name: str) -> Any:
    """Asked last: dynamic properties, named children and enum values."""
    if not name.startswith("__"):
        try:
            if name in _dynamic_properties(self):
                return QtCore.QObject.property(self, name)
            for child in self.children():
                if QtCore.QObject.property(child, "objectName") == name:
                    return child
        except RuntimeError:  # the C++ object is not there yet or not any more
            pass
        value = getattr(type(self), name, None)
        if isinstance(value, enum.Enum):
            return value
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _setattr(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    owner = next((c for c in cls.__mro__ if name in c.__dict__), None)
    if owner is not None:
        if _set_known(self, owner, name, value):
            return
    elif name.startswith("_"):  # Python's own
        pass
    elif name in _dynamic_properties(self):
        QtCore.QObject.setProperty(self, name, value)
        return
    elif stands_for_cpp(cls):
        raise AttributeError(
            f"'{name}' does not exist on {cls.__name__}"
            " and creating new attributes on C++ objects is not allowed"
        )
    _plain_setattr(self, name, value)


def _set_known(self: Any, owner: type, name: str, value: Any) -> bool:
    """Set a member that a class has; False: leave it to Python."""
    cls, known = type(self), owner.__dict__[name]
    if isinstance(known, QtCore.Property):
        if known.fset is None:
            raise AttributeError(f"Property '{name}' of {cls.__name__} object is not writable")
        known.fset(self, value)
        return True
    # PySide6 keeps its bound signals this way.
    if isinstance(value, QtCore.SignalInstance):
        return False
    if isinstance(known, QtCore.Signal):
        raise AttributeError(f"Signal '{name}' can not be overwritten on {cls.__name__} object")
    if stands_for_cpp(cls) and stands_for_cpp(owner) and callable(known):
        raise AttributeError(f"Slot '{name}' can not be overwritten on {cls.__name__} object")
    return False


def _dynamic_properties(widget: Any) -> list[str]:
    return [bytes(name).decode() for name in widget.dynamicPropertyNames()]
