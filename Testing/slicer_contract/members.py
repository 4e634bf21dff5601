"""All members that a class shows to Python through PythonQt, inherited ones included."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .facts import lineage, qt_wrappers, slicer_classes
from .qt_classes import QtCore, qt_class
from .signatures import parse_signature


class Kind(enum.Enum):
    """The kind of a member; a property wins over a method of the same name."""

    PROPERTY = "property"
    SIGNAL = "signal"
    METHOD = "method"
    ENUM = "enum value"


@dataclass(frozen=True)
class Member:
    """A member; signatures: all overloads of a signal."""

    kind: Kind
    is_writable: bool = False
    signatures: tuple[str, ...] = ()

    def has_signature(self, signature: str) -> bool:
        """Whether a signal has the overload that a connection asks for."""
        return any(parse_signature(known) == parse_signature(signature) for known in self.signatures)


METHOD = Member(Kind.METHOD)
ENUM = Member(Kind.ENUM)

# PythonQtStdDecorators.h and QObject give these to every object.
OF_EVERY_OBJECT = {
    "name": Member(Kind.PROPERTY, is_writable=True),
    **dict.fromkeys(
        (
            "blockSignals",
            "children",
            "className",
            "connect",
            "delete",
            "deleteLater",
            "disconnect",
            "findChild",
        ),
        METHOD,
    ),
    **dict.fromkeys(
        ("findChildren", "help", "inherits", "isWidgetType", "metaObject", "parent", "property", "setParent"),
        METHOD,
    ),
    **dict.fromkeys(("setProperty", "signalsBlocked", "tr"), METHOD),
}
RESERVED_NAMES = ("exec", "print", "raise")


def is_known(class_name: str) -> bool:
    """Whether anything is known of a class."""
    return class_name in slicer_classes() or qt_class(class_name) is not None


@functools.cache
def members_of(class_name: str) -> dict[str, Member]:
    """The members by name, nearest class first."""
    members: dict[str, Member] = {}
    for name in lineage(class_name):
        for key, member in _own_members(name):
            members.setdefault(key, member)
    # PythonQtClassInfo::escapeReservedNames
    members |= {f"{key}_": members[key] for key in RESERVED_NAMES if key in members}
    return OF_EVERY_OBJECT | members


def _own_members(name: str) -> Iterator[tuple[str, Member]]:
    if facts := slicer_classes().get(name):
        for key, info in facts.properties.items():
            yield key, Member(Kind.PROPERTY, is_writable=bool(info.setter))
        for key, signatures in facts.signals.items():
            yield key, Member(Kind.SIGNAL, signatures=tuple(signatures))
        yield from ((key, METHOD) for key in facts.methods)
        yield from ((key, ENUM) for key, _ in facts.enum_values())
    elif cls := qt_class(name):
        if issubclass(cls, QtCore.QObject):
            yield from _by_meta_object(cls.staticMetaObject)  # type: ignore[attr-defined]
        for ancestor in cls.__mro__:
            if wrapper := qt_wrappers().get(ancestor.__name__):
                yield from ((key, METHOD) for key in wrapper.methods)
                yield from ((key, ENUM) for key in wrapper.enums)


def _by_meta_object(meta: Any) -> Iterator[tuple[str, Member]]:
    for index in range(meta.propertyCount()):
        info = meta.property(index)
        yield info.name(), Member(Kind.PROPERTY, is_writable=info.isWritable())
    signals: dict[str, list[str]] = {}
    kinds: Any = QtCore.QMetaMethod
    for index in range(meta.methodCount()):
        method = meta.method(index)
        name = bytes(method.name()).decode()
        if method.methodType() == kinds.Signal:
            signals.setdefault(name, []).append(bytes(method.methodSignature()).decode())
        elif method.access() == kinds.Public:
            yield name, METHOD
    for name, signatures in signals.items():
        yield name, Member(Kind.SIGNAL, signatures=tuple(signatures))
    for index in range(meta.enumeratorCount()):
        enumerator = meta.enumerator(index)
        yield from ((enumerator.key(key), ENUM) for key in range(enumerator.keyCount()))
