"""A lock between processes, held through a file and freed by the system when its owner dies."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .cancellation import POLL_S, wait

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
    """Hold the lock file `path` while the block runs if nobody else does, and tell whether it is so.

    Raises OSError when the file cannot be created.
    """
    descriptor = _take(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(path, descriptor)


if sys.platform == "win32":
    import msvcrt

    def _take(path: Path) -> int | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _release(path: Path, descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        os.close(descriptor)
        with suppress(OSError):  # whoever waits has the file open, and then Windows keeps it
            path.unlink()

else:
    import fcntl

    def _take(path: Path) -> int | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # held by another, or its owner has just removed the file: try again with a fresh one
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                logger.warning("The file system of %s has no locks (%s); going on without.", path, error)
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _release(path: Path, descriptor: int) -> None:
        path.unlink(missing_ok=True)
        os.close(descriptor)
