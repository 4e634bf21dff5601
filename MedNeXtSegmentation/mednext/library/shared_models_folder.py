"""Change the models folder, one process at a time, and repair it after processes that were killed."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Cancelled
from ..model.description import NAME_FORM
from ..model.model_file import MODEL_FILE
from ..system.atomic import SET_ASIDE, UNFINISHED, explaining, recover_folder, remove_if_left
from ..system.locks import locked
from ..system.running_processes import signature
from .folder_locations import made_models_folder, models_folder

logger = logging.getLogger(__name__)

_WORKSHOP = ".installing-"
_LOOK_S = 2.0  # longest wait, before reading, for a process that puts a model in its place


@contextmanager
def exclusive_models_folder() -> Iterator[Path]:
    """The models folder, repaired first; no other process changes it during the block.

    Raises:
        OutputError, DiskSpaceError: the folder cannot be made or written to.
    """
    with explaining(models_folder() / "model"):
        folder = made_models_folder()
        with locked(folder / ".lock"):
            _bring_back(folder)
            _remove_leftovers(folder)
            yield folder


@contextmanager
def staging_folder() -> Iterator[Path]:
    """A hidden folder among the models, thus on the same disk, that is removed after the block.

    Those of killed processes are removed, too. Raises the errors of `exclusive_models_folder`.
    """
    with explaining(models_folder() / "model"):
        folder = made_models_folder()
        _remove_leftovers(folder)
        ours = folder / f"{_WORKSHOP}{signature()}-{secrets.token_hex(6)}"
        ours.mkdir()
        try:
            yield ours
        finally:
            shutil.rmtree(ours, ignore_errors=True)


def models_in(folder: Path) -> dict[str, Path]:
    """Name and place of each model in a folder, in the order of the names.

    If a process was killed while it replaced a model, the old one is brought back; in a read-only folder it
    is used where it is. For a folder that cannot be read the answer is empty.
    """
    try:
        found = _look(folder)
        if any(place.name != name for name, place in found.items()):
            _bring_back_alone(folder)
            found = _look(folder)
    except FileNotFoundError:
        return {}
    except OSError as error:  # forbidden, a file, or a lost network drive
        logger.warning("The models in %s cannot be used: %s", folder, error)
        return {}
    return found


def _look(folder: Path) -> dict[str, Path]:
    """Models in their places, or else where they were set aside."""
    places: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):  # those set aside come first, as their names begin with a dot
        name = path.name.removeprefix(SET_ASIDE)
        if re.fullmatch(NAME_FORM, name) and (path / MODEL_FILE).is_file():
            places[name] = path
    return dict(sorted(places.items()))


def _remove_leftovers(folder: Path) -> None:
    for left in (*folder.glob(f"{_WORKSHOP}*"), *folder.glob(f"{UNFINISHED}*")):
        remove_if_left(left)


def _bring_back_alone(folder: Path) -> None:
    end = time.monotonic() + _LOOK_S
    try:
        with locked(folder / ".lock", lambda: time.monotonic() > end):
            _bring_back(folder)
    except (OSError, Cancelled) as error:
        logger.warning("The models in %s cannot be repaired: %s", folder, error)


def _bring_back(folder: Path) -> None:
    """Finish the replacements of killed processes; the caller holds the lock of the folder."""
    for aside in folder.glob(f"{SET_ASIDE}*"):
        with suppress(OSError):  # a read-only folder
            recover_folder(folder / aside.name.removeprefix(SET_ASIDE))
