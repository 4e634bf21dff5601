"""The temporary folders through which voxels travel, and what a crash leaves of them."""

from __future__ import annotations

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


@contextmanager
def run_folder() -> Iterator[Path]:
    """A new folder for one run, named after this process; it goes with the block.

    Raises `OutputError` when nothing can be written there.
    """
    parent = Path(tempfile.gettempdir())
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}_"))
        yield folder
    except OSError as error:
        raise OutputError(
            f"The voxels could not be exchanged with the engine in {parent} ({error}): free space there, or "
            "choose another temporary folder."
        ) from error
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def emptying(folder: Path) -> Iterator[None]:
    """Remove the files of a run's folder; comes back after each, since large ones take their time."""
    for file in folder.iterdir():
        with suppress(OSError):  # one that is still mapped goes with the folder
            file.unlink()
        yield


def remove_leftovers() -> None:
    """Remove the folders of processes of this computer that are gone."""
    name = re.compile(re.escape(_prefix()) + r"(\d+)_.*")
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        match = name.fullmatch(folder.name)
        if match and not is_running(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    """With the computer's name: a cluster's nodes may share a temporary folder, and not their processes."""
    return f"mednext_{re.sub('[^A-Za-z0-9-]', '', platform.node())}_"
