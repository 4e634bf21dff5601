"""Signatures of signals and slots as Qt writes them: `valueChanged(double)`."""

from __future__ import annotations

import functools
import re

PYTHON_TYPES: dict[str, type] = {"bool": bool, "int": int, "double": float, "float": float, "QString": str}


@functools.cache
def parse_signature(signature: str) -> tuple[str, tuple[str, ...]]:
    """Name and types of the arguments; `const`, references and the digit of SIGNAL() do not count."""
    name, _, rest = signature.strip().lstrip("012").partition("(")
    arguments = (plain_type(argument) for argument in rest.rstrip(") ").split(","))
    return name.strip(), tuple(argument for argument in arguments if argument)


def plain_type(text: str) -> str:
    """`const QString &` is `QString`, `vtkObject *` is `vtkObject*`."""
    text = re.sub(r"^const\s+", "", text.strip()).rstrip("& ").strip()
    return re.sub(r"\s*([*&])", r"\1", text)


def python_types(arguments: tuple[str, ...]) -> tuple[type, ...]:
    """The Python types that PySide6 declares a signal with."""
    return tuple(PYTHON_TYPES.get(argument, object) for argument in arguments)
