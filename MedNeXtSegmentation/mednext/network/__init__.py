"""The network, its blocks, and the faster formulations that give the same logits."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Names of version 0.1.0, in which this package was one module."""
    if name not in ("MedNeXt",):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import mednext

    return getattr(mednext, name)
