"""Standard output and error that take any text, and show foreign text safely."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

from .shown_text import shown, shown_lines


class ShownFormatter(logging.Formatter):
    """Formats log lines without terminal control sequences; only tracebacks have several lines."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return shown(super().formatMessage(record))


def take_any_text() -> None:
    """Let a console show letters that it lacks as `\\xf6`: no name may end a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the shell has closed it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def forget_output() -> None:
    """Redirect a stdout that cannot be written, so that Python does not complain on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
