"""Read the values of fields in image headers, without trust in their length or form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from ...errors import UnreadableImageError

MOST_AXES = 16

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def needed(fields: Mapping[str, str], name: str, path: Path) -> str:
    """The text of a field. Raises `UnreadableImageError` if the header lacks it."""
    if name not in fields:
        raise UnreadableImageError(f'{path} has no "{name}" in its header: it is damaged, copy it again.')
    return fields[name]


def whole_numbers(path: Path, field: str, text: str) -> list[int]:
    """The whole numbers of a field. Raises `UnreadableImageError` for anything else in it."""
    words = text.split()
    if not words or not all(_WHOLE.fullmatch(word) for word in words):
        raise impossible(path, field, text)
    return [int(word) for word in words]


def sizes_of(path: Path, count: str, sizes: str) -> list[int]:
    """The sizes along all axes, by the field that counts the axes and the one that has their sizes.

    Raises `UnreadableImageError` when these contradict each other, and for a size below 1.
    """
    counted, found = whole_numbers(path, "number of dimensions", count), whole_numbers(path, "sizes", sizes)
    if counted != [len(found)]:
        raise UnreadableImageError(
            f"{path} says that it has {count[:20]} dimensions, but the size {sizes[:60]}: correct its header."
        )
    if len(found) > MOST_AXES or min(found) < 1:
        raise impossible(path, "sizes", sizes)
    return found


def numbers(path: Path, field: str, text: str, count: int) -> list[float]:
    """The finite numbers of a field, `count` of them. Raises `UnreadableImageError` for anything else."""
    words = text.split()
    if len(words) != count or not all(_DECIMAL.fullmatch(word) for word in words):
        raise impossible(path, field, text)
    found = [float(word) for word in words]
    if not all(math.isfinite(number) for number in found):
        raise impossible(path, field, text)
    return found


def impossible(path: Path, field: str, text: str) -> UnreadableImageError:
    """The error for a field with an impossible text."""
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return UnreadableImageError(f'{path} has the impossible "{field}" "{shown}": correct its header.')
