"""The constructors that a pickle may call, and the check of the value that it builds.

None of them is a class of numpy: an array is made of a type out of a fixed set, a shape and bytes, after a
check that these fit each other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAX_VALUES = 20_000_000  # in the whole tree; a value that is used twice counts twice
_MAX_DEPTH = 100
_MAX_KEY_PARTS = 16
_MAX_CHARACTERS = 2**16
_MAX_DIMENSIONS = 32
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_TEXTS = {"S": 1, "U": 4}  # bytes of a character
_OBJECTS = ("O", "O4", "O8")


@dataclass(frozen=True)
class Constructor:
    """A function that a pickle may call."""

    build: Callable[..., Any]


@dataclass(frozen=True)
class Name:
    """A class that a pickle may name, but not call."""

    name: str


class Stateful(ABC):
    """A value that a pickle makes in two steps: a call, then its state."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Take the state. Raises ValueError for one that does not fit."""

    @abstractmethod
    def finished(self) -> Any:
        """The value. Raises ValueError when the state is missing."""


class _ElementType(Stateful):
    """The type of an array's elements."""

    def __init__(self, name: str) -> None:
        size = name[1:]
        text = name[:1] in _TEXTS and size.isdecimal() and len(size) <= 5 and 0 < int(size) <= _MAX_CHARACTERS
        if name not in _NUMBERS and name not in _OBJECTS and not text:
            raise ValueError(f"elements of the type {name!r}")
        self._name = name
        self._order = "="

    @property
    def is_object(self) -> bool:
        return self._name in _OBJECTS

    def set_state(self, state: Any) -> None:
        _version, order, *composition = state[:5]
        if order not in ("<", ">", "|", "=") or composition != [None, None, None]:
            raise ValueError("a type of elements that is composed of others")
        self._order = order

    def finished(self) -> _ElementType:
        return self

    def array(self, data: Any, shape: Any, order: str) -> Any:
        """The array of this shape; an array of objects becomes a list."""
        shape = sizes(shape)
        if len(shape) > _MAX_DIMENSIONS:
            raise ValueError(f"an array of {len(shape)} dimensions")
        if self.is_object:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise ValueError("an array without its elements")
            return data
        kind = np.dtype(self._order + self._name)
        flat = np.frombuffer(as_bytes(data), kind) if data else np.zeros(0, kind)
        if flat.size != math.prod(shape):
            raise ValueError(f"an array of the shape {shape} in {len(data)} bytes")
        return flat.reshape(shape, order="F" if order == "F" else "C") if flat.size else flat


class _Array(Stateful):
    """An array whose type, shape and bytes follow as its state."""

    _value: Any = None

    def set_state(self, state: Any) -> None:
        _version, shape, element, is_fortran, data = state
        self._value = _element(element).array(data, shape, "F" if is_fortran else "C")

    def finished(self) -> Any:
        if self._value is None:
            raise ValueError("an array without its elements")
        return self._value


def names_of_numpy() -> dict[str, Any]:
    """Numpy's unpickling functions, under the names of numpy 1 and of numpy 2."""
    names: dict[str, Any] = {
        "numpy.dtype": Constructor(_element_type),
        "numpy.ndarray": Name("numpy.ndarray"),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = Constructor(lambda _kind, _shape, _type: _Array())
        names[f"{core}.multiarray.scalar"] = Constructor(_scalar)
        names[f"{core}.numeric._frombuffer"] = Constructor(_from_buffer)
    return names


def names_of_python() -> dict[str, Any]:
    """The containers and numbers of Python that have no instruction of their own."""
    names: dict[str, Any] = {
        "collections.OrderedDict": Constructor(_ordered),
        "collections.Counter": Constructor(lambda counts=(): _ordered(dict(counts).items())),
        "_codecs.encode": Constructor(_encode),
    }
    constructors: dict[str, Callable[..., Any]] = {
        "set": lambda items=(): set(map(check_key, items)),
        "frozenset": lambda items=(): frozenset(map(check_key, items)),
        "bytes": lambda data=b"": bytes(as_bytes(data)),
        "bytearray": lambda data=b"", encoding="latin-1": bytearray(
            _encode(data, encoding) if isinstance(data, str) else as_bytes(data)
        ),
        "complex": lambda real, imaginary: complex(float(real), float(imaginary)),
    }
    for module in ("builtins", "__builtin__"):
        names |= {f"{module}.{name}": Constructor(build) for name, build in constructors.items()}
    return names


def sizes(values: Any) -> tuple[int, ...]:
    """A tuple or list of whole numbers from 0 on. Raises ValueError for anything else."""
    if not isinstance(values, tuple | list) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("impossible sizes")
    return tuple(values)


def as_bytes(data: Any) -> bytes | bytearray:
    """The data itself. Raises ValueError when it is not bytes: a number would reserve as much memory."""
    if not isinstance(data, bytes | bytearray):
        raise ValueError(f"a {type(data).__name__} in place of bytes")
    return data


def check_key(value: Any) -> Any:
    """A dictionary's key or a set's member: a plain value, or a few of them; nested ones hash without end."""
    parts = value if isinstance(value, tuple | frozenset) else (value,)
    if len(parts) > _MAX_KEY_PARTS or not all(map(_hashes_well, parts)):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


def check_tree(root: Any, leaves: tuple[type, ...] = ()) -> Any:
    """Return the value if it is a tree of containers and plain values, neither deep nor endless.

    A pickle may use one list several times within another and so on: forty bytes can make a value that no
    program can walk through.

    Args:
        root: the value that was built.
        leaves: further types that may be in it.

    Raises:
        ValueError: it contains itself, is deeper than 100 or has more than 20 million values.
    """
    plain: tuple[type, ...] = (str, bytes, bytearray, int, float, complex, type(None), *leaves)
    counts: dict[int, int] = {}
    path: list[tuple[Any, Sequence[Any], int]] = [(root, _children(root, plain), 0)]
    open_now = {id(root)}
    while path:
        value, children, position = path.pop()
        if position < len(children):
            path.append((value, children, position + 1))
            child = children[position]
            if id(child) in open_now:
                raise ValueError("it is nested without end")
            if id(child) not in counts:
                inner = _children(child, plain)
                if not inner:
                    counts[id(child)] = child.size if isinstance(child, np.ndarray) else 1
                elif len(path) >= _MAX_DEPTH:
                    raise ValueError(f"it is nested more than {_MAX_DEPTH} times")
                else:
                    path.append((child, inner, 0))
                    open_now.add(id(child))
        else:
            open_now.discard(id(value))
            counts[id(value)] = 1 + sum(counts[id(child)] for child in children)
            if counts[id(value)] > _MAX_VALUES:
                raise ValueError(f"it has more than {_MAX_VALUES} values")
    return root


def _children(value: Any, plain: tuple[type, ...]) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return value
    if not isinstance(value, (set, frozenset, np.ndarray, *plain)):
        raise ValueError(f"a {type(value).__name__} that is not finished")
    return ()


def _hashes_well(value: Any) -> bool:
    """True for a plain value, except for the numbers that all have the same hash."""
    if isinstance(value, int):
        return value.bit_length() <= 64
    return isinstance(value, str | bytes | float | None)


def _element_type(name: Any, _align: Any = False, _copy: Any = True) -> _ElementType:
    if not isinstance(name, str):
        raise ValueError("elements of a type without a name")
    return _ElementType(name)


def _element(value: Any) -> _ElementType:
    if not isinstance(value, _ElementType):
        raise ValueError("an array without the type of its elements")
    return value


def _scalar(element: Any, data: Any) -> Any:
    """A number or text of numpy as Python's own."""
    if _element(element).is_object:
        return data
    if isinstance(data, str):  # Python 2's bytes
        data = _encode(data, "latin-1")
    return element.array(data, (), "C").item()


def _from_buffer(data: Any, element: Any, shape: Any, order: Any, axes: Any = None) -> Any:
    array = _element(element).array(data, shape, order)
    return array if axes is None or order != "K" else array.transpose(sizes(axes))


def _ordered(items: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((check_key(key), value) for key, value in items)


def _encode(text: Any, encoding: Any = "latin-1") -> bytes:
    """Bytes as protocol 2 writes them; any encoding other than latin-1 would import a codec."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")
