"""A lock between processes, held through a file; the system frees it when its owner dies."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .cancellation import POLL_S, wait

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # which another user of the folder may lay to a file of this one
_PATIENCE_S = 2.0 if sys.platform == "win32" else 0.0

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; wait while another process or thread holds it.

    Raises:
        Cancelled: `cancelled` answered True while waiting.
        OSError: the file cannot be created.
    """
    while (descriptor := _take(path)) is None:
        wait(POLL_S, cancelled)
    try:
        yield
    finally:
        _release(path, descriptor)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs if it is free; yield whether it was.

    Raises OSError when the file cannot be created.
    """
    descriptor = _take(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(path, descriptor)


def _open(path: Path) -> int:
    """Open a lock file; Windows refuses that for a moment while the file is being removed or scanned."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(POLL_S)


if sys.platform == "win32":
    import msvcrt

    def _take(path: Path) -> int | None:
        descriptor = _open(path)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _release(path: Path, descriptor: int) -> None:
        with suppress(OSError):  # closing frees it as well
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        os.close(descriptor)
        with suppress(OSError):  # Windows keeps the file while a waiting process has it open
            path.unlink()

else:
    import fcntl

    def _take(path: Path) -> int | None:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # another process holds it, or its owner has just removed the file: try again
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                logger.warning("The file system of %s has no locks (%s); continuing without.", path, error)
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _release(path: Path, descriptor: int) -> None:
        path.unlink(missing_ok=True)
        os.close(descriptor)
