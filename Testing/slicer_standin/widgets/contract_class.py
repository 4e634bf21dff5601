"""Classes made of the contract: every property, signal, method and enum value of Slicer, and no other.

    class ctkSearchBox(contract_class("ctkSearchBox")):
        _defaults = {"placeholderText": "Search..."}

Such a class stores its properties by itself. A hand-written class adds behaviour: methods of the contract by
their name, a property by `_get_<name>` and `_set_<name>`, a reaction to changes by `_property_changed(name)`.
A method that nobody wrote raises NotImplementedError when it is called; a public member that the contract
lacks is an error at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from slicer_contract.facts import ClassFacts, PropertyFacts, lineage, slicer_classes
from slicer_contract.qt_classes import QtCore, QtWidgets, qt_class
from slicer_contract.signatures import parse_signature, python_types

from ..errors import StandInError
from ..pythonqt.qt_module import patch_qt

patch_qt()

PACKAGE = __name__.split(".", maxsplit=1)[0]
STORED_TYPES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "unsigned int": int,
    "double": float,
    "float": float,
    "QString": str,
    "QStringList": "QStringList",
}
EMPTY_VALUES = {
    "bool": False,
    "int": 0,
    "unsigned int": 0,
    "double": 0.0,
    "float": 0.0,
    "QString": "",
    "QStringList": (),
}

# The newest class of each name: generated first, then with its behaviour.
_classes: dict[str, type] = {}


def _scene(self: Any) -> Any:
    return self.__dict__.get("_mrml_scene")


def _set_scene(self: Any, scene: Any) -> None:
    self.__dict__["_mrml_scene"] = scene


# Every widget that knows the scene at least keeps it.
SCENE_METHODS: dict[str, Callable[..., Any]] = {"mrmlScene": _scene, "setMRMLScene": _set_scene}


def contract_class(name: str) -> Any:
    """A class with the members of the contract, on top of its nearest base that stands in for something."""
    facts = slicer_classes()[name]
    members: dict[str, Any] = {
        "__init_subclass__": classmethod(_check_subclass),
        "__module__": __name__,
        "_defaults": {},
        "_signal_signatures": {
            key: value for ancestor in lineage(name) for key, value in _signals(ancestor).items()
        },
        "_stands_for_cpp": True,
    }
    base = standin_class(facts.base)
    members |= {
        signal: QtCore.Signal(*_overloads(signatures)) for signal, signatures in facts.signals.items()
    }
    for key, property_facts in facts.properties.items():
        members[key] = _make_property(key, property_facts)
        # A setter that is no slot is C++ only: Python assigns the property.
        if property_facts.setter in facts.methods:
            members[property_facts.setter] = _make_setter(key)
    for method in facts.methods:
        if method not in members and not hasattr(base, method):
            members[method] = SCENE_METHODS.get(method) or _make_missing(name, method)
    for value, number in facts.enum_values():
        members.setdefault(value, number)
    cls = type(name, (base,), members)
    _classes[name] = cls
    return cls


def standin_class(name: str) -> Any:
    """The class that stands in for one of Slicer, CTK or Qt, made of the contract alone where it must."""
    if name in _classes:
        return _classes[name]
    if name in slicer_classes():
        return contract_class(name)
    return qt_class(name) or QtCore.QObject


def _check_subclass(cls: type) -> None:
    """A class of this package stands for one of C++ and shows its members only; modules' own are free."""
    if not cls.__module__.startswith(PACKAGE) or cls.__name__ not in slicer_classes():
        return
    strange = [key for key in cls.__dict__ if not key.startswith("_") and key not in _public_members(cls)]
    if strange:
        raise StandInError(f"the stand-in of {cls.__name__} has members that Slicer does not show: {strange}")
    cls._stands_for_cpp = True  # type: ignore[attr-defined]
    _classes[cls.__name__] = cls


def _public_members(cls: type) -> set[str]:
    # The constructor's name and Qt's own virtual functions may be given again.
    members = {"staticMetaObject", *(key for base in cls.__mro__[1:] for key in vars(base))}
    for name in lineage(cls.__name__):
        if facts := slicer_classes().get(name):
            members |= facts.properties.keys() | facts.signals.keys() | facts.methods.keys()
            members |= {value for value, _ in facts.enum_values()}
    return members


def _signals(name: str) -> dict[str, list[str]]:
    facts: ClassFacts | None = slicer_classes().get(name)
    return facts.signals if facts else {}


def _overloads(signatures: Iterable[str]) -> list[Any]:
    """The arguments of QtCore.Signal: types, or one tuple of types for each overload."""
    keys = list(dict.fromkeys(python_types(parse_signature(signature)[1]) for signature in signatures))
    return list(keys) if len(keys) > 1 else list(keys[0])


def _make_missing(class_name: str, method: str) -> Callable[..., Any]:
    def missing(_self: Any, *_arguments: Any) -> Any:
        raise NotImplementedError(
            f"{class_name}.{method}() is part of Slicer, but nobody wrote it for the stand-in"
        )

    return missing


def _make_setter(name: str) -> Callable[[Any, Any], None]:
    return lambda self, value: setattr(self, name, value)


def _make_property(name: str, facts: PropertyFacts) -> Any:
    stored_type = STORED_TYPES.get(facts.type, "QVariant")

    def read(self: Any) -> Any:
        getter = getattr(type(self), f"_get_{name}", None)
        if getter:
            return getter(self)
        values = self.__dict__.setdefault("_values", {})
        return values[name] if name in values else _default(type(self), name, facts.type)

    def write(self: Any, value: Any) -> None:
        if isinstance(stored_type, type) and value is not None:
            value = stored_type(value)
        elif facts.type == "QStringList":
            value = [str(item) for item in value]
        setter, before = getattr(type(self), f"_set_{name}", None), read(self)
        if setter:
            setter(self, value)
        else:
            self.__dict__.setdefault("_values", {})[name] = value
            if facts.notify and before != value:
                emit(self, facts.notify, value)
        changed = getattr(type(self), "_property_changed", None)
        if changed:
            changed(self, name)

    return QtCore.Property(stored_type, read, write if facts.setter else None)


def _default(cls: type, name: str, cpp_type: str) -> Any:
    for ancestor in cls.__mro__:
        defaults = ancestor.__dict__.get("_defaults", {})
        if name in defaults:
            return defaults[name]
    value = EMPTY_VALUES.get(cpp_type)
    return list(value) if isinstance(value, tuple) else value


def emit(widget: Any, name: str, *values: Any) -> None:
    """Emit every overload of a signal that has as many arguments as there are values, or fewer."""
    signal, signatures = getattr(widget, name), widget._signal_signatures[name]
    for signature in signatures:
        arguments = parse_signature(signature)[1]
        if len(arguments) > len(values):
            continue
        types = python_types(arguments)
        overload = signal
        if len(signatures) > 1:
            overload = signal[types[0] if len(types) == 1 else types]
        overload.emit(*(bool(v) if t is bool else v for t, v in zip(types, values, strict=False)))


def parent_of(arguments: Iterable[Any]) -> Any:
    """The parent widget among the arguments of a constructor."""
    return next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)
