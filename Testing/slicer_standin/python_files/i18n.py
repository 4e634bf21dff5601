"""Stand-in for `slicer.i18n`: the English text is its own translation."""

from __future__ import annotations


def tr(text: str) -> str:
    return text


def translate(_context: str, text: str) -> str:
    return text
