"""Names of files inside a folder that came from elsewhere: a bundle or an archive."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from .errors import UnsafePathError


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`, which must exist for links to be followed.

    The same names are refused on every platform: a bundle made on Linux may be opened on Windows.

    Raises:
        UnsafePathError: `name` is absolute, has a drive letter, a backslash or "..", or follows a link
            that leaves the folder.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in posix.parts or posix.is_absolute() or windows.drive or windows.root or "\\" in name
    if leaves or not posix.parts or "\0" in name:
        raise UnsafePathError(
            f"The path {name!r} does not stay in its folder. Do not use this model: get it from a source you "
            "trust."
        )
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnsafePathError(
            f"{path} is a link to {path.resolve()}, outside of its folder. Replace the link by the file "
            "itself."
        )
    return path
