"""Names of files inside a folder that came from elsewhere: a bundle or an archive."""

from __future__ import annotations

import errno
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import UnsafePathError

_FORBIDDEN = set('<>:"|?*') | {chr(code) for code in range(32)}  # on Windows, where ":" opens a stream
_PORTS = [f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"]
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS}
_LONGEST_PART = 255  # bytes, of most file systems
_SHOWN = 100


def check_relative(name: str) -> None:
    """Find out whether a name can be that of a file in a folder, on every platform.

    A bundle made on Linux may be opened on Windows.

    Raises:
        UnsafePathError: it is absolute, has a drive letter, a backslash or "..", or is one that some platform
            cannot have.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    short = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    leaves = ".." in posix.parts or posix.is_absolute() or windows.drive or windows.root or "\\" in name
    if leaves or not posix.parts or "\0" in name:
        raise UnsafePathError(
            f"The path {short!r} does not stay in its folder. Do not use this model: get it from a source "
            "you trust."
        )
    if not all(_is_portable(part) for part in posix.parts):
        raise UnsafePathError(
            f"{short!r} is not a file name on every platform. Rename the file, and pack the model again."
        )


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`, which must exist for links to be followed.

    Raises:
        UnsafePathError: see `check_relative`, or it follows a link that leaves the folder.
    """
    check_relative(name)
    path = folder / name
    try:
        leads_out = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a link to itself
        raise UnsafePathError(f"{path} is a link that leads nowhere. Replace it by the file.") from error
    if leads_out:
        raise UnsafePathError(
            f"{path} is a link to {path.resolve()}, outside of its folder. Replace the link by the file "
            "itself."
        )
    return path


def is_device(name: str) -> bool:
    """Whether Windows opens a device by this name, whatever follows the first dot."""
    return name.split(".", maxsplit=1)[0].rstrip().lower() in _DEVICES


def check_regular(path: Path) -> None:
    """Find out whether a path can be read to its end, as a pipe or a device cannot.

    Raises:
        OSError: it is missing, forbidden, or something else than a file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "It is not a regular file")


def _is_portable(part: str) -> bool:
    try:
        length = len(part.encode())
    except UnicodeEncodeError:  # half of a character
        return False
    return (
        length <= _LONGEST_PART
        and not _FORBIDDEN & set(part)
        and not part.endswith((".", " "))
        and not is_device(part)
    )
