"""Numbers and words in the headers of image files, read without trust in their length or form."""

from __future__ import annotations

import math
import re
from pathlib import Path

from ..errors import UnreadableImageError

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def whole_numbers(path: Path, field: str, text: str) -> list[int]:
    """The whole numbers of a field. Raises `UnreadableImageError` when it has anything else."""
    words = text.split()
    if not words or not all(_WHOLE.fullmatch(word) for word in words):
        raise wrong(path, field, text)
    return [int(word) for word in words]


def numbers(path: Path, field: str, text: str, count: int) -> list[float]:
    """The finite numbers of a field, `count` of them. Raises `UnreadableImageError` for anything else."""
    words = text.split()
    if len(words) != count or not all(_DECIMAL.fullmatch(word) for word in words):
        raise wrong(path, field, text)
    found = [float(word) for word in words]
    if not all(math.isfinite(number) for number in found):
        raise wrong(path, field, text)
    return found


def wrong(path: Path, field: str, text: str) -> UnreadableImageError:
    """The refusal of a field that has this text."""
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return UnreadableImageError(f'{path} has the impossible "{field}" "{shown}": correct its header.')
