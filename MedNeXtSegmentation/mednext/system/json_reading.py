"""Typed reading of JSON files that people and strangers write, `model.json` and `catalog.json`.

Slicer's Python has no `jsonschema`, so the checks are made by hand; every error names the file, the field
and the bad value. Unknown fields are refused: a misspelt option must not be ignored in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import MedNeXtError
from .file_names import check_regular

T = TypeVar("T")

_MAX_JSON_BYTES = 16 * 2**20
_MAX_DIGITS = 1000
_MAX_DEPTH = 64
_MAX_TEXT = 20_000
_REQUIRED: Any = object()


class Fields:
    """One JSON object whose fields are taken one by one, each with its type and range.

    Call `finish()` after the last field: it refuses fields that were not taken.

    Args:
        data: the parsed JSON value; must be an object.
        where: place of the object for messages, such as "model.json: network".
        error: class of error to raise.
    """

    def __init__(self, data: Any, where: str, error: type[MedNeXtError]) -> None:
        self.where = where
        self.error = error
        if not isinstance(data, dict):
            raise error(f"{where} must be a JSON object, not {_shown(data)}.")
        self._data = dict(data)

    def refuse(self, key: str, value: Any, wanted: str) -> MedNeXtError:
        """The error, for the caller to raise, that names the values `key` may have."""
        return self.error(f"{self.where}: {key!r} must be {wanted}, not {_shown(value)}.")

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """The raw value of `key`."""
        if key in self._data:
            return self._data.pop(key)
        if default is _REQUIRED:
            raise self.error(f"{self.where}: the field {key!r} is missing.")
        return default

    def has(self, key: str) -> bool:
        """Whether `key` has a value other than null. Takes a null."""
        if self._data.get(key, _REQUIRED) is None:
            del self._data[key]
        return key in self._data

    def text(
        self,
        key: str,
        default: str = _REQUIRED,
        *,
        choices: Sequence[str] = (),
        pattern: str = "",
        empty: bool = False,
    ) -> str:
        """A string that is one of `choices`, or matches the whole `pattern`."""
        value = self.take(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, value, "a text")
        if not is_unicode(value):
            raise self.refuse(key, value, "a text without half characters")
        if choices and value not in choices:
            raise self.refuse(key, value, "one of " + ", ".join(choices))
        if not value and not empty:
            raise self.refuse(key, value, "a text that is not empty")
        if len(value) > _MAX_TEXT:
            raise self.refuse(key, value, f"a text of at most {_MAX_TEXT} characters")
        if pattern and not re.fullmatch(pattern, value):
            raise self.refuse(key, value, f"a text of the form {pattern}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of at least one string, none of them empty."""
        value = self.take(key)
        fits = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
        if not fits or not all(map(is_unicode, value)):
            raise self.refuse(key, value, "a list of texts that are not empty and have no half characters")
        return tuple(value)

    def flag(self, key: str, default: bool = _REQUIRED) -> bool:
        """True or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, "true or false")
        return value

    def integer(self, key: str, low: int, high: int, default: int = _REQUIRED) -> int:
        """A whole number in `[low, high]`."""
        value = self.take(key, default)
        if not _is_integer(value) or not low <= value <= high:
            raise self.refuse(key, value, f"a whole number from {low} to {high}")
        return int(value)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in `[low, high]`."""
        value = self.take(key)
        if not _is_number(value) or not low <= value <= high:
            raise self.refuse(key, value, f"a finite number{_range(low, high)}")
        return float(value)

    def integers(
        self, key: str, low: int, high: int, *, length: int | None = None, default: Sequence[int] = _REQUIRED
    ) -> tuple[int, ...]:
        """A list of whole numbers in `[low, high]`, of the given length where one is given."""
        value = self.take(key, default)
        fits = isinstance(value, list | tuple) and all(_is_integer(v) and low <= v <= high for v in value)
        if not fits or (length is not None and len(value) != length):
            count = "" if length is None else f"{length} "
            raise self.refuse(key, value, f"a list of {count}whole numbers from {low} to {high}")
        return tuple(int(v) for v in value)

    def numbers(self, key: str, low: float, high: float, length: int) -> tuple[float, ...]:
        """A list of `length` finite numbers in `[low, high]`."""
        value = self.take(key)
        fits = isinstance(value, list) and all(_is_number(v) and low <= v <= high for v in value)
        if not fits or len(value) != length:
            raise self.refuse(key, value, f"a list of {length} numbers{_range(low, high)}")
        return tuple(float(v) for v in value)

    def fields(self, key: str) -> Fields:
        """The object under `key`."""
        return Fields(self.take(key), f"{self.where}: {key}", self.error)

    def objects(
        self, key: str, read: Callable[[Fields], T], *, minimum: int = 0, default: Sequence[T] = _REQUIRED
    ) -> tuple[T, ...]:
        """A list of objects, each read by `read`, at least `minimum` of them."""
        value = self.take(key, default)
        if not isinstance(value, list | tuple) or len(value) < minimum:
            raise self.refuse(key, value, f"a list of at least {minimum} objects")
        return tuple(
            read(Fields(item, f"{self.where}: {key}[{n}]", self.error)) for n, item in enumerate(value)
        )

    def finish(self) -> None:
        """Refuse a field that was not taken."""
        if self._data:
            raise self.error(
                f"{self.where}: unknown field {min(self._data)!r}. It may come from a newer version of this "
                "extension, or be misspelt."
            )


def read_json(
    path: Path, error: type[MedNeXtError], remedy: str = "Repair it, or get the file again."
) -> Any:
    """The value in a JSON file. Refuses NaN, infinities and repeated keys.

    Args:
        path: of the file.
        error: class of error to raise.
        remedy: for a file that cannot be read, in a sentence.

    Raises:
        error: the file cannot be read, is larger than 16 MiB, or is not JSON.
    """
    try:
        check_regular(path)
        if path.stat().st_size > _MAX_JSON_BYTES:
            size = path.stat().st_size
            raise error(f"{path} has {size} bytes, which is too large for a description. {remedy}")
        text = path.read_text(encoding="utf-8")
    except OSError as cause:
        reason = str(cause.strerror or cause).removesuffix(".")
        raise error(f"{path} cannot be read ({reason}). {remedy}") from cause
    except UnicodeDecodeError as cause:
        raise error(f"{path} is not a text file in UTF-8. {remedy}") from cause
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not valid JSON: {cause}. {remedy}") from cause


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or has NaN, an integer of more than a thousand digits, or a repeated
            key.
        RecursionError: the text is nested thousands of times.
    """
    return json.loads(text, parse_constant=_no_constant, parse_int=_short, object_pairs_hook=_no_repeats)


def numbers_in(text: str) -> dict[str, float]:
    """The numbers by name in a JSON text; none in any other text, since anybody may have changed it."""
    try:
        found = parse_json(text)
    except (ValueError, RecursionError):
        return {}
    sound = isinstance(found, dict) and all(map(_is_number, found.values()))
    return {name: float(number) for name, number in found.items()} if sound else {}


def is_unicode(text: str) -> bool:
    """Whether a file can hold the text: JSON may contain half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def json_text(value: Any, indent: str = "") -> str:
    """JSON for people: lists and objects that fit on a line stay on one."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(line) <= 100 or not isinstance(value, dict | list | tuple):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        items = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {json_text(v, inner)}" for key, v in value.items()
        ]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + json_text(item, inner) for item in value) + f"\n{indent}]"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _short(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the field {repeated!r} is given twice")
    return data


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e300 < value < 1e300  # false for NaN and infinities; compares huge integers without overflow


def _is_integer(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _range(low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return ""
    return f" from {low:g} to {high:g}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
