"""`sender.connect("signal(type)", slot)` as PythonQt does it: by signature, and a wrong one is an error.

A Python slot gets at most as many arguments as it has positional parameters (PythonQtSignalTarget::call).
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer_contract.qt_classes import QtCore
from slicer_contract.signatures import parse_signature, python_types

from ..errors import StandInError

Slot = Callable[..., Any]

_qt_connect, _qt_disconnect = QtCore.QObject.connect, QtCore.QObject.disconnect


@dataclass(frozen=True)
class Link:
    """A connection made by signature, kept so that it can be taken apart by the same words."""

    name: str
    slot: Slot
    signal: Any
    relay: Slot


_links: weakref.WeakKeyDictionary[Any, list[Link]] = weakref.WeakKeyDictionary()


def connect(sender: Any, *arguments: Any) -> Any:
    """`(signature, slot)`, `(signature, receiver, slot signature)`; on the class, the same after a sender.

    Raises StandInError where the sender has no such signal.
    """
    if len(arguments) >= 3 and isinstance(arguments[1], str):
        return connect(*arguments)
    if not arguments or not isinstance(arguments[0], str):
        return _qt_connect(sender, *arguments)
    if len(arguments) >= 3:
        signature, receiver, slot_signature = arguments[:3]
        return connect(sender, signature, _slot_by_signature(receiver, slot_signature))
    signature, slot = arguments
    signal, count = find_signal(sender, signature)
    if isinstance(slot, QtCore.SignalInstance):
        signal.connect(slot)
        return True
    relay = _relay(slot, count)
    signal.connect(relay)
    _links.setdefault(sender, []).append(Link(parse_signature(signature)[0], slot, signal, relay))
    return True


def disconnect(sender: Any, *arguments: Any) -> Any:
    """Disconnect one slot or all slots of a signal; returns False if there was none."""
    if not arguments or not isinstance(arguments[0], str):
        return _qt_disconnect(sender, *arguments)
    name = parse_signature(arguments[0])[0]
    slot = arguments[1] if len(arguments) > 1 else None
    links = _links.get(sender, [])
    ended = [link for link in links if link.name == name and slot in (None, link.slot)]
    for link in ended:
        link.signal.disconnect(link.relay)
    if ended:
        _links[sender] = [link for link in links if link not in ended]
    return bool(ended)


def _slot_by_signature(receiver: Any, signature: str) -> Slot:
    name, arguments = parse_signature(signature)
    method = getattr(receiver, name)
    return lambda *values: method(*values[: len(arguments)])


def _relay(slot: Slot, signal_count: int) -> Slot:
    accepted = _positional_parameters(slot)
    count = signal_count if accepted is None else min(accepted, signal_count)
    return lambda *values: slot(*values[:count])


def _positional_parameters(slot: Slot) -> int | None:
    """How many arguments PythonQt would pass at most; None: all that the signal has."""
    function = slot.__func__ if inspect.ismethod(slot) else slot
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - (1 if inspect.ismethod(slot) else 0)


def find_signal(sender: Any, signature: str) -> tuple[Any, int]:
    """The bound signal of a signature and the number of its arguments; raises StandInError without one."""
    name, arguments = parse_signature(signature)
    overloads = _signatures(type(sender), name)
    if f"{name}({','.join(arguments)})" not in overloads:
        has = overloads or "none of this name"
        raise StandInError(
            f"QObject::connect: {sender.className()} has no signal {signature!r}; it has {has}"
        )
    return _overload(getattr(sender, name), arguments, overloads), len(arguments)


@functools.cache
def _signatures(sender_class: type, name: str) -> list[str]:
    contract = getattr(sender_class, "_signal_signatures", {})
    if name in contract:
        return contract[name]
    # Not a sender's metaObject(): PySide6 would end the class's meta-object together with the sender.
    meta_object = sender_class.staticMetaObject  # type: ignore[attr-defined]
    methods = (meta_object.method(index) for index in range(meta_object.methodCount()))
    return [
        bytes(method.methodSignature()).decode()
        for method in methods
        if bytes(method.name()).decode() == name and method.methodType() == QtCore.QMetaMethod.Signal
    ]


def _overload(signal: Any, arguments: tuple[str, ...], overloads: list[str]) -> Any:
    """The overload with these types, where the number of arguments does not tell which one is meant."""
    counts = [len(parse_signature(overload)[1]) for overload in overloads]
    if len(set(counts)) == len(counts):
        return signal
    types = python_types(arguments)
    for key in (types[0] if len(types) == 1 else types, ",".join(arguments)):
        try:
            return signal[key]
        except (KeyError, IndexError, TypeError):
            continue
    return signal
