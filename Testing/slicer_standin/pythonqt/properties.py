"""A Q_PROPERTY is an attribute: `label.text`, not `label.text()` and not `label.setText` alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer_contract.qt_classes import QtCore

Getter = Callable[[Any], Any]
Setter = Callable[[Any, Any], None]


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "QString": _to_text,
    "int": int,
    "double": float,
    "bool": bool,
}


class PythonQtProperty:
    """A property of one of Qt's own classes, as PythonQt shows it.

    static: the class's own attribute of this name, as QTimer has a static method singleShot.
    """

    def __init__(
        self, meta: QtCore.QMetaProperty, getter: Getter | None, setter: Setter | None, static: Any = None
    ) -> None:
        self._name, self._type, self._writable = meta.name(), meta.typeName(), meta.isWritable()
        self._getter, self._setter, self._static = getter, setter, static

    def __get__(self, widget: Any, _owner: type | None = None) -> Any:
        if widget is None:
            return self._static or self
        value = self._getter(widget) if self._getter else QtCore.QObject.property(widget, self._name)
        return tuple(value) if isinstance(value, list) else value

    def __set__(self, widget: Any, value: Any) -> None:
        if not self._writable:
            raise AttributeError(f"Property '{self._name}' of {type(widget).__name__} object is not writable")
        converted = self._convert(value)
        if self._setter:
            self._setter(widget, converted)
        elif not QtCore.QObject.setProperty(widget, self._name, converted):
            raise self._refusal(value)

    def __delete__(self, widget: Any) -> None:
        raise AttributeError(self._name)

    def _convert(self, value: Any) -> Any:
        if value is None or self._type not in CONVERTERS:
            return value
        try:
            return CONVERTERS[self._type](value)
        except (TypeError, ValueError):
            raise self._refusal(value) from None

    def _refusal(self, value: Any) -> AttributeError:
        given = f"{type(value).__name__} ({value!r})"
        return AttributeError(
            f"Property '{self._name}' of type '{self._type}' does not accept an object of type {given}"
        )


def patch_properties(cls: type) -> None:
    """Put the properties that a class declares, or whose method it overrides, in place of its methods."""
    meta_object = cls.staticMetaObject  # type: ignore[attr-defined]
    for index in range(meta_object.propertyCount()):
        meta = meta_object.property(index)
        name = meta.name()
        inherited = index < meta_object.propertyOffset()
        if name.startswith("_") or (inherited and name not in cls.__dict__):
            continue
        getter, setter = None, None
        static = cls.singleShot if cls is QtCore.QTimer and name == "singleShot" else None
        # Methods of the application are static: its properties go through the meta-object.
        if not issubclass(cls, QtCore.QCoreApplication) and static is None:
            getter = _method(cls, name)
            setter = _method(cls, f"set{name[0].upper()}{name[1:]}") if meta.isWritable() else None
        setattr(cls, name, PythonQtProperty(meta, getter, setter, static))


def _method(cls: type, name: str) -> Any:
    """The method of this name as PySide6 gives it, whatever was patched over it."""
    for ancestor in cls.__mro__:
        found = ancestor.__dict__.get(name)
        if callable(found) and not isinstance(found, (PythonQtProperty, type, staticmethod)):
            return found
    return None
