"""Replace a file or a folder in one step: what others see is the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DiskSpaceError, OutputError

UNFINISHED = ".mednext-"  # how names of files and folders begin that have not been put in place yet

_PREFIX = ".mednext-"
_ABANDONED_S = 86400.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary file beside `path`, same suffixes; it becomes `path` when the block ends well.

    When the block raises, the temporary file is removed and `path` is as it was. Permission and existence are
    found out on entry, before hours of work.

        with replacing("liver.nii.gz") as temporary:
            sitk.WriteImage(image, temporary)

    Raises `OutputError` when the place cannot be written, `DiskSpaceError` when the disk is full.
    """
    path = Path(path)
    _refuse_folder(path)
    temporary = _beside(path)
    with explaining(path):
        try:
            # Not tempfile: its files are private (0600), and the result would stay so.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; it becomes `path` when the block ends well.

    A folder that was there is set aside first, comes back when the exchange fails, and is removed after it.
    Raises `OutputError` when the place cannot be written, `DiskSpaceError` when the disk is full.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file: give the name of a folder to write.")
    temporary, aside = _beside(path), _beside(path)
    with explaining(path):
        try:
            temporary.mkdir()
            yield temporary
            if path.is_dir():
                path.replace(aside)
            try:
                temporary.replace(path)
            except OSError:
                if aside.is_dir():
                    aside.replace(path)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files below a folder whose writers were killed, after a day."""
    for left in folder.rglob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.is_file() and time.time() - left.stat().st_mtime > _ABANDONED_S:
                left.unlink()


def check_place(path: Path) -> None:
    """Find out, before the work, whether `path` can be written. Raises the errors of `replacing`."""
    _refuse_folder(path)
    temporary = _beside(path)
    with explaining(path):
        temporary.touch()
        temporary.unlink()


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals about this place into sentences; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskSpaceError(f"The disk is full: {path} was not written. Free some space.") from error
        if not path.parent.is_dir():
            raise OutputError(f"The folder {path.parent} does not exist: make it first.") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EISDIR}:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}): choose another place."
            ) from error
        raise


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file to write.")


def _beside(path: Path) -> Path:
    """A new hidden name in the same folder, as a rename needs one file system, with the format's suffix."""
    return path.parent / f"{UNFINISHED}{secrets.token_hex(6)}{''.join(path.suffixes[-2:])}"
