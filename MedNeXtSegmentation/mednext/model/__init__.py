"""A model as a bundle: its description, its labels and its files of weights."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Names of version 0.1.0, in which this package was one module."""
    if name not in ("Channel", "Fold", "Model", "NetworkSpec"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import description

    return getattr(description, name)
