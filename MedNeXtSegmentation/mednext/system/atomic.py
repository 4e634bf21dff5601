"""Replace a file or a folder in one step: others see the old one or the new one, whole."""

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

UNFINISHED = ".mednext-"  # prefix of files and folders that are not in their place yet
SET_ASIDE = ".replaced-"  # prefix of a whole folder that another one is about to replace

_MIB = 2**20
ABANDONED_S = 86400.0  # clocks of machines that share a folder may differ by hours
_waiting: ContextVar[dict[Path, Path] | None] = ContextVar("waiting", default=None)  # in `together`
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNFIT = {  # errors of a place where nothing can be written
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOTCONN,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}


@contextmanager
def replacing(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, same suffixes; it becomes `path` when the block succeeds.

    When the block raises, the temporary file is removed and `path` stays as it was. Permission and existence
    are checked on entry, before hours of work. Within `together` the file becomes `path` at that block's end.
    Other users of the computer can read a `private` file at no time, and others as the user's umask allows.

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
        mode = 0o600 if private else 0o666
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
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
    """Put all files of `replacing` within this block in their places at its end, or none.

    A kill in between may leave the first file without the others, but never beside the former ones.

    Raises the errors of `replacing`.
    """
    waiting: dict[Path, Path] = {}
    token = _waiting.set(waiting)
    try:
        yield
        with ExitStack() as formers, ExitStack() as undo:
            for path in waiting.values():
                with explaining(path):
                    undo.callback(_keep_former(path, formers))
            for path in list(waiting.values())[1:]:
                with explaining(path):
                    path.unlink(missing_ok=True)
            for temporary, path in waiting.items():
                with explaining(path):
                    temporary.replace(path)
            undo.pop_all()
    finally:
        _waiting.reset(token)
        for temporary in waiting:
            _remove(temporary)


def _keep_former(path: Path, formers: ExitStack) -> Callable[[], object]:
    """Keep the file at `path` under another name until `formers` ends; return a function that restores it."""
    if not path.exists():
        return partial(path.unlink, missing_ok=True)

    def restore() -> None:
        with explaining(path):  # its disk may be read-only by now
            former.replace(path)

    former = _beside(path)
    formers.callback(_remove, former)
    try:
        os.link(path, former)
    except OSError:  # a file system without links
        shutil.copy2(path, former)
    return restore


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it becomes `path` when the block succeeds.

    A former folder is first set aside, under a name made of its own, and removed after the exchange. If this
    process is killed in between, `recover_folder` brings it back: at any time the old folder or the new one
    exists, whole. Raises `OutputError` when the place cannot be written, `DiskSpaceError` when the disk is
    full.
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
    """Clean up after a process that was killed in `replacing_folder(path)`.

    Restores the folder that it had set aside, or removes it if the new one is in its place.

    Raises:
        OSError: this user may not change the parent folder.
    """
    aside = _aside(path)
    if aside.is_dir():
        if path.exists():
            _discard(aside)
        else:
            aside.rename(path)


def _exchange(new: Path, path: Path) -> None:
    """Put a folder in the place of another, and remove the other."""
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
                continue  # another process believed this one killed, and restored the old folder
            raise
    if aside.is_dir():
        _discard(aside)


def _aside(path: Path) -> Path:
    return path.parent / f"{SET_ASIDE}{path.name}"


def _discard(folder: Path) -> None:
    """Remove a folder, renamed first: after an interruption no part of it bears its name."""
    left = _beside(folder)
    folder.rename(left)
    shutil.rmtree(left, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files below a folder whose writers were killed; see `remove_if_left`."""
    with suppress(OSError):  # other processes may remove the same files
        for left in list(folder.rglob(f"{UNFINISHED}*")):
            remove_if_left(left)


def remove_if_left(path: Path) -> None:
    """Remove a temporary file or folder if its process has ended, or may have ended and it is a day old."""
    with suppress(OSError):  # another process was faster, or this user may not remove it
        ended = has_ended(path.name)  # clocks jump: the age tells nothing of a process that runs
        if ended or (ended is None and time.time() - path.lstat().st_mtime > ABANDONED_S):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def check_place(path: Path) -> None:
    """Check, before the work, that `path` can be written, and remove files that killed processes left beside.

    Raises the errors of `replacing`.
    """
    _refuse_folder(path)
    temporary = _beside(path)
    with explaining(path):
        temporary.touch()
        temporary.unlink()
        for left in path.parent.glob(f"{UNFINISHED}*"):
            remove_if_left(left)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn errors of the operating system about this place into ours; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskSpaceError(f"The disk is full: {path} was not written. Free some space.") from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise OutputError(
                f"{path} was not written: too many files are open. Close other programs, and try again."
            ) from error
        if not path.parent.exists():
            raise OutputError(f"The folder {path.parent} does not exist: make it first.") from error
        if not path.parent.is_dir():
            raise OutputError(f"The folder {path.parent} is a file: choose another place.") from error
        if error.errno == errno.ENOENT and path.parent in Path(str(error.filename)).parents:
            raise OutputError(
                f"{path} was not written: {error.filename} has vanished. Look whether the disk of "
                f"{path.parent} is still there."
            ) from error
        if error.errno in _UNFIT:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}): choose another place."
            ) from error
        raise


def check_space(folder: Path, needed: int, doing: str) -> None:
    """Check that a disk has this many free bytes. Raises `DiskSpaceError`."""
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
    """A new hidden name with the format's suffix in the same folder, since a rename needs one file system."""
    name = f"{UNFINISHED}{signature()}-{secrets.token_hex(6)}"
    return path.parent / f"{name}{''.join(path.suffixes[-2:])}"
