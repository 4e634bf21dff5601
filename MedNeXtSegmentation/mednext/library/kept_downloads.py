"""Unfinished downloads, which lie hidden among the models until they are resumed or removed."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import MedNeXtError
from ..system.atomic import explaining
from ..system.locks import locked_if_free
from .folder_locations import models_folder

logger = logging.getLogger(__name__)

_OLD_DAYS = 30
_DAY_S = 24 * 3600.0
_LOCK = ".lock"


@dataclass(frozen=True)
class KeptDownload:
    """A download that an earlier run has left.

    Attributes:
        name: of its files, without suffixes.
        paths: its files and folders.
        bytes: of all of them.
        changed: time of the last change, s since 1970.
    """

    name: str
    paths: tuple[Path, ...]
    bytes: int
    changed: float


def downloads_folder() -> Path:
    """The folder of unfinished downloads; it may not exist."""
    return models_folder() / ".downloads"


def kept_downloads() -> list[KeptDownload]:
    """All downloads that are there, also those that another process is working on."""
    groups: dict[str, list[Path]] = {}
    with suppress(OSError):  # no folder, or a lost network drive
        for path in sorted(downloads_folder().iterdir()):
            groups.setdefault(path.name.split(".")[0], []).append(path)
    return [
        _kept(name, paths)
        for name, paths in groups.items()
        if any(not path.name.endswith(_LOCK) for path in paths)
    ]


def remove_downloads(older_than_days: float = 0.0) -> list[KeptDownload]:
    """Remove the downloads that no process works on, and return them.

    Raises OutputError when one cannot be removed.
    """
    latest = time.time() - older_than_days * _DAY_S
    return [
        kept
        for kept in kept_downloads()
        if (older_than_days <= 0 or kept.changed < latest) and _removed(kept)
    ]


def forget_old_downloads() -> None:
    """Remove the downloads that were not resumed for a month."""
    try:
        for kept in remove_downloads(_OLD_DAYS):
            logger.info("Removed a download of %d bytes that was not resumed: %s", kept.bytes, kept.name)
    except (OSError, MedNeXtError) as error:
        logger.warning("Old downloads in %s cannot be removed: %s", downloads_folder(), error)


def _kept(name: str, paths: list[Path]) -> KeptDownload:
    sizes, times = [0], [0.0]
    for path in _files(paths):
        with suppress(OSError):  # its owner has just moved or removed it
            state = path.lstat()
            sizes.append(state.st_size)
            times.append(state.st_mtime)
    return KeptDownload(name, tuple(paths), sum(sizes), max(times))


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from (inner for inner in path.rglob("*") if inner.is_file())


def _removed(kept: KeptDownload) -> bool:
    """Remove a download unless a process holds one of its locks."""
    folder = downloads_folder()
    with explaining(folder / kept.name), ExitStack() as held:
        locks = (folder / f"{kept.name}{_LOCK}", folder / f"{kept.name}.zip{_LOCK}")
        if not all(held.enter_context(locked_if_free(lock)) for lock in locks):
            return False
        for path in kept.paths:
            if path.name.endswith(_LOCK):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return True
