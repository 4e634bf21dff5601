"""Find the training in the given folder or zip file, which may hold it deeper within."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BundleError, CheckpointError
from ..library.archive import unpack
from ..library.shared_models_folder import staging_folder
from .import_report import ImportNotes

_MAX_DEPTH = 6  # nnU-Net's own zip files have the results folder in two others
_MOST_FOLDERS = 5000


@contextmanager
def located(source: Path, is_training: Callable[[Path], bool], notes: ImportNotes) -> Iterator[Path]:
    """The file or folder to read: the source, or the only training within it.

    Args:
        source: a file, a folder, or a zip file, which is unpacked for the time of the context.
        is_training: whether a folder is one that a format reads.
        notes: get the place of a training that lies deeper.

    Raises:
        CheckpointError: there are several trainings, or the zip file is damaged or unsafe.
        DiskSpaceError, OutputError: the zip file cannot be unpacked.
    """
    if source.is_file() and source.suffix.lower() == ".zip":
        with staging_folder() as folder:
            try:
                unpack(source, folder)
            except BundleError as error:
                raise CheckpointError(str(error)) from error
            yield _within(folder, source, is_training, notes)
    elif source.is_dir():
        yield _within(source, source, is_training, notes)
    else:
        yield source


def _within(folder: Path, source: Path, is_training: Callable[[Path], bool], notes: ImportNotes) -> Path:
    """The folder itself, or the only training in it."""
    if is_training(folder):
        return folder
    found = list(_trainings(folder, is_training))
    if len(found) > 1:
        places = ", ".join(str(each.relative_to(folder)) for each in found)
        raise CheckpointError(f"{source} holds several trainings: {places}. Give the folder of one of them.")
    if not found:
        return folder
    notes.sources.setdefault("weights", f"in {found[0].relative_to(folder)}")
    return found[0]


def _trainings(folder: Path, is_training: Callable[[Path], bool]) -> Iterator[Path]:
    """The trainings below a folder; not those within a training, which are its folds."""
    level, seen = [folder], 0
    for _ in range(_MAX_DEPTH):
        below = []
        for each in level:
            names = sorted(entry.path for entry in os.scandir(each) if entry.is_dir(follow_symlinks=False))
            seen += len(names)
            if seen > _MOST_FOLDERS:
                raise CheckpointError(
                    f"{folder} has more than {_MOST_FOLDERS} folders. Give that of the training."
                )
            for path in map(Path, names):
                if is_training(path):
                    yield path
                else:
                    below.append(path)
        level = below
