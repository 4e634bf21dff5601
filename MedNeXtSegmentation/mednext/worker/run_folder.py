"""The temporary folders through which client and worker exchange voxels, and their removal after a crash."""

from __future__ import annotations

import atexit
import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from ..system.running_processes import is_running

_kept: list[Path] = []  # folders of ended runs that are still there


@contextmanager
def run_folder() -> Iterator[Path]:
    """A new folder for one run, named after this process, and removed at the end of the block.

    Raises `OutputError` when it cannot be written.
    """
    remove_kept()
    parent = Path(tempfile.gettempdir())
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}_"))
        yield folder
    except OSError as error:
        remedy = "free space there, or choose another temporary folder"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            remedy = "close other programs, or restart Slicer"
        raise OutputError(
            f"The voxels could not be exchanged with the engine in {parent} ({error}): {remedy}."
        ) from error
    finally:
        if folder:
            _kept.append(folder)
            remove_kept()


@atexit.register
def remove_kept() -> None:
    """Remove the folders whose run has ended, also those that resisted before: it had too many open files."""
    for folder in _kept[:]:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            _kept.remove(folder)


def emptying(folder: Path) -> Iterator[None]:
    """Remove the files of a run's folder; yield after each, since large ones take time."""
    for file in folder.iterdir():
        with suppress(OSError):  # a file that is still mapped is removed with the folder
            file.unlink()
        yield


def remove_leftovers() -> None:
    """Remove the folders of processes of this computer that have ended."""
    name = re.compile(re.escape(_prefix()) + r"(\d+)_.*")
    try:
        parent = Path(tempfile.gettempdir())
    except OSError:  # a full disk: a run will say so
        return
    for folder in parent.glob(f"{_prefix()}*"):
        match = name.fullmatch(folder.name)
        if match and not is_running(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    """A prefix with the computer's name: the nodes of a cluster may share a temporary folder."""
    return f"mednext_{re.sub('[^A-Za-z0-9-]', '', platform.node())}_"
