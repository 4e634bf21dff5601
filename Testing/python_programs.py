"""Programs that tests put in the place of Python."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def write_python_program(path: Path, code: str) -> Path:
    """A program that runs `code`, and passes its arguments on.

    A script of the shell, since the first line of a script may hold no path with a space.
    """
    file = path.with_name(f"{path.name}.py")
    file.write_text(code, encoding="utf-8")
    path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(file)])} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path
