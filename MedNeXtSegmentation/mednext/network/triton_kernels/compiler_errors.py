"""What Triton's compiler refuses is for whoever calls a failure of the device like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from triton.errors import TritonError


@contextmanager
def as_runtime_errors() -> Iterator[None]:
    """Raise `RuntimeError` where Triton raises its own errors, which are none: no resources, no compiling."""
    try:
        yield
    except TritonError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
