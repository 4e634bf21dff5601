"""Turn errors of Triton's compiler into `RuntimeError`, as callers expect of a device's failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from triton.errors import TritonError


@contextmanager
def as_runtime_errors() -> Iterator[None]:
    """Raise `RuntimeError` for Triton's own errors (no resources, no compiling), which differ."""
    try:
        yield
    except TritonError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
