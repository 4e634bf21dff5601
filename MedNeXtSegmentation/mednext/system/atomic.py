"""Replace a file or a folder in one step: what others see is the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from ..errors import DiskSpaceError, OutputError
from .running_processes import has_ended, signature

UNFINISHED = ".mednext-"  # how names of files and folders begin that have not been put in place yet
SET_ASIDE = ".replaced-"  # and of a folder, whole, whose place another one is about to take

_MIB = 2**20
_ABANDONED_S = 86400.0
_waiting: ContextVar[dict[Path, Path] | None] = ContextVar("waiting", default=None)  # in `together`
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNFIT = {  # a place where nothing can be written
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary file beside `path`, same suffixes; it becomes `path` when the block ends well.

    When the block raises, the temporary file is removed and `path` is as it was. Permission and existence are
    found out on entry, before hours of work. Within `together` the file becomes `path` when that block ends.

        with replacing("liver.nii.gz") as temporary:
            sitk.WriteImage(image, temporary)

    Raises `OutputError` when the place cannot be written, `DiskSpaceError` when the disk is full.
    """
    path = Path(path)
    _refuse_folder(path)
    temporary = _beside(path)
    with explaining(path), ExitStack() as undo:
        undo.callback(_remove, temporary)
        # Not tempfile: its files are private (0600), and the result would stay so.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        waiting = _waiting.get()
        if waiting is None:
            temporary.replace(path)
        else:
            waiting[temporary] = path
            undo.pop_all()


@contextmanager
def together() -> Iterator[None]:
    """All files that `replacing` gives within this block take their places at its end, or none does.

    Raises the errors of `replacing`.
    """
    waiting: dict[Path, Path] = {}
    token = _waiting.set(waiting)
    try:
        yield
        with ExitStack() as formers, ExitStack() as undo:
            for temporary, path in waiting.items():
                with explaining(path):
                    undo.callback(_keep_former(path, formers))
                    temporary.replace(path)
            undo.pop_all()
    finally:
        _waiting.reset(token)
        for temporary in waiting:
            _remove(temporary)


def _keep_former(path: Path, formers: ExitStack) -> Callable[[], object]:
    """Keep the file in a place under another name until `formers` ends; what has to be called to undo all."""
    if not path.exists():
        return partial(path.unlink, missing_ok=True)
    former = _beside(path)
    formers.callback(_remove, former)
    try:
        os.link(path, former)
    except OSError:  # a file system without links
        shutil.copy2(path, former)
    return partial(former.replace, path)


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; it becomes `path` when the block ends well.

    A folder that was there is set aside first, under a name that tells whose place is taken, and removed
    after the exchange. Where this process is killed in between, `recover_folder` brings it back: at any time
    the old folder or the new one is there, whole. Raises `OutputError` when the place cannot be written,
    `DiskSpaceError` when the disk is full.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file: give the name of a folder to write.")
    temporary = _beside(path)
    with explaining(path):
        try:
            recover_folder(path)
            temporary.mkdir()
            yield temporary
            _exchange(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Put right what a process left that was killed in `replacing_folder(path)`.

    The folder that it had set aside comes back, or goes if the new one is in its place.

    Raises:
        OSError: this user may not change the folder around it.
    """
    aside = _aside(path)
    if aside.is_dir():
        if path.exists():
            _discard(aside)
        else:
            aside.rename(path)


def _exchange(new: Path, path: Path) -> None:
    """Put a folder in the place of another, and remove that."""
    aside = _aside(path)
    for is_last in (False, True):
        if path.is_dir():
            path.replace(aside)
        try:
            new.replace(path)
            break
        except OSError:
            if aside.is_dir():
                aside.replace(path)
            elif path.is_dir() and not is_last:
                continue  # another process took this one for killed, and brought the old folder back
            raise
    if aside.is_dir():
        _discard(aside)


def _aside(path: Path) -> Path:
    return path.parent / f"{SET_ASIDE}{path.name}"


def _discard(folder: Path) -> None:
    """Remove a folder; where that is interrupted, what is left of it no longer bears its name."""
    left = _beside(folder)
    folder.rename(left)
    shutil.rmtree(left, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files below a folder whose writers were killed; see `remove_if_left`."""
    with suppress(OSError):  # other processes remove, too
        for left in list(folder.rglob(f"{UNFINISHED}*")):
            remove_if_left(left)


def remove_if_left(path: Path) -> None:
    """Remove a temporary file or folder if its process has ended, or if it is a day old."""
    with suppress(OSError):  # another process was faster, or it is not ours to remove
        if has_ended(path.name) or time.time() - path.lstat().st_mtime > _ABANDONED_S:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


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
        if not path.parent.exists():
            raise OutputError(f"The folder {path.parent} does not exist: make it first.") from error
        if not path.parent.is_dir():
            raise OutputError(f"The folder {path.parent} is a file: choose another place.") from error
        if error.errno in _UNFIT:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}): choose another place."
            ) from error
        raise


def check_space(folder: Path, needed: int, doing: str) -> None:
    """Find out whether a disk has space for so many bytes. Raises `DiskSpaceError`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskSpaceError(
            f"{doing} needs {needed / _MIB:.0f} MiB, but the disk of {folder} has {free / _MIB:.0f} MiB "
            "free. Free some space, or choose another folder."
        )


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file to write.")


def _beside(path: Path) -> Path:
    """A new hidden name in the same folder, as a rename needs one file system, with the format's suffix."""
    name = f"{UNFINISHED}{signature()}-{secrets.token_hex(6)}"
    return path.parent / f"{name}{''.join(path.suffixes[-2:])}"
