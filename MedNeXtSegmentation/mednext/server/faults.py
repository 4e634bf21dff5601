"""The trace of a fault for the log, without the text of the exception, which may quote voxels."""

from __future__ import annotations

import traceback


def where(error: BaseException) -> str:
    """The lines of code that led to an exception, and its class."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([*lines, f"  {type(error).__name__}"])
