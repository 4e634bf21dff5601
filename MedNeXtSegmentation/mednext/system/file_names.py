"""Names that are safe on every file system: checked in what comes from strangers, made for our own files."""

from __future__ import annotations

import errno
import stat
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import UnsafePathError

_FORBIDDEN = set('<>:"|?*\\/\x7f') | {chr(code) for code in range(32)}  # on Windows, where ":" opens a stream
_PORTS = [f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"]
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS}
_LONGEST_PART = 255  # bytes, of most file systems
_LONGEST_MADE = 180  # bytes; suffixes and numbers come on top
_SHOWN = 100  # letters of a name in a message


def check_relative(name: str) -> None:
    """Refuse a name that cannot be that of a file in a folder on every platform.

    A bundle made on Linux may be opened on Windows.

    Raises:
        UnsafePathError: it is absolute, has a drive letter, a backslash or "..", or is one that some platform
            cannot have.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in posix.parts or posix.is_absolute() or windows.drive or windows.root or "\\" in name
    if leaves or not posix.parts or "\0" in name:
        raise UnsafePathError(
            f"The path {shortened(name)!r} does not stay in its folder. Do not use this model: get it from a "
            "source you trust."
        )
    if not all(_is_portable(part) for part in posix.parts):
        raise UnsafePathError(
            f"{shortened(name)!r} is not a file name on every platform. Rename the file, and pack the model "
            "again."
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


def check_regular(path: Path) -> None:
    """Refuse a path that cannot be read to its end, such as a pipe or a device.

    Raises:
        OSError: it is missing, forbidden, or something else than a file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "It is not a regular file")


def is_device(name: str) -> bool:
    """True if Windows opens a device by this name, whatever follows the first dot."""
    return name.split(".", maxsplit=1)[0].rstrip().lower() in _DEVICES


def safe_part(name: str) -> str:
    """A name as one part of a path, on every file system; letters of all languages stay."""
    text = unicodedata.normalize("NFC", name.encode(errors="replace").decode())  # halves of characters: "?"
    safe = _cut("".join("_" if letter in _FORBIDDEN else letter for letter in text).strip())
    if not safe or safe.startswith("."):
        safe = f"_{safe.lstrip('.')}"
    return _cut(f"_{safe}") if is_device(safe) else safe


def safe_path(parts: Sequence[str]) -> str:
    """Several parts as a POSIX path, each made safe."""
    return "/".join(safe_part(part) for part in parts)


def as_compared(name: str) -> str:
    """The form in which Windows and macOS compare names: two names of the same form are one file there."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def told_apart(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Make names unique: those that are alike (`as_compared`) get their longer form, then a number."""
    counts = Counter(as_compared(name) for name in names)
    told = [long if counts[as_compared(name)] > 1 else name for name, long in zip(names, longer, strict=True)]
    seen: Counter[str] = Counter()
    taken = {as_compared(name) for name in told}
    result = []
    for name in told:
        seen[as_compared(name)] += 1
        numbered, number = name, seen[as_compared(name)]
        while number > 1 and as_compared(numbered) in taken:
            numbered, number = f"{name}_{number}", number + 1
        taken.add(as_compared(numbered))
        result.append(numbered)
    return result


def shortened(name: str) -> str:
    """A name for a message: its first hundred letters."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def _cut(name: str) -> str:
    return name.encode()[:_LONGEST_MADE].decode(errors="ignore").rstrip(". ")


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
