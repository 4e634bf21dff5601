"""Objects as JSON values and back, by the fields of their classes: for two processes of this program."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .. import errors
from ..errors import MedNeXtError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass, an error, a path, a collection of these, or a plain value.

    A class with a method `to_json` has another form, and a class method `from_json` that reads it.
    """
    if isinstance(value, MedNeXtError):
        return errors.to_json(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[T], data: Any) -> T:
    """The inverse of `to_json` for a class.

    Raises ValueError for data of another form, and the errors of the class.
    """
    own = getattr(kind, "from_json", None)
    return own(data) if own else fields_from_json(kind, data)


def fields_from_json(kind: type[T], data: Any) -> T:
    """As `from_json`, by the fields of a dataclass, also of one with another form of its own."""
    hints = get_type_hints(kind)
    if not isinstance(data, dict) or not set(data) <= set(hints):
        raise ValueError(f"not the fields of {kind.__name__}: {str(data)[:200]}")
    values = {name: _read(hints[name], each) for name, each in data.items()}
    try:
        return kind(**values)
    except (TypeError, OverflowError) as error:  # a field is missing, or no number of a computer
        raise ValueError(f"not the fields of {kind.__name__}: {error}") from error


def _read(kind: Any, data: Any) -> Any:
    origin, kinds = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return _read_one_of(kinds, data)
    if isinstance(origin, type) and is_dataclass(origin):
        return from_json(origin, data)
    if isinstance(origin, type) and issubclass(origin, MedNeXtError) and isinstance(data, dict):
        return errors.from_json(data)
    if origin is Path and isinstance(data, str):
        return Path(data)
    if origin in (Mapping, dict) and isinstance(data, dict):
        return {kinds[0](key): _read(kinds[1], each) for key, each in data.items()}  # JSON's keys are texts
    if origin in (Sequence, tuple, list) and isinstance(data, list):
        several = origin is not tuple or kinds[-1] is Ellipsis
        items = [
            _read(each, item)
            for each, item in zip([kinds[0]] * len(data) if several else kinds, data, strict=True)
        ]
        return items if origin is list else tuple(items)
    if isinstance(origin, type) and isinstance(data, int | float if origin is float else origin):
        return data
    raise ValueError(f"not of the form {kind}: {str(data)[:200]}")


def _read_one_of(kinds: Sequence[Any], data: Any) -> Any:
    for kind in kinds:
        try:
            return _read(kind, data)
        except ValueError as error:
            reason = error
    raise reason
