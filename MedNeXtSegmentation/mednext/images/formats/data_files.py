"""Find the files of voxels that a detached header names: only plain names in the header's own folder.

A stranger's header must not turn other files of this computer into voxels, nor make the reader wait for a
device or a pipe.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from ...errors import UnreadableImageError

MOST_FILES = 100_000

_PATTERN = re.compile(r"([^%]*)%(0?\d{0,2})d([^%]*)")


def data_files(image: Path, names: list[str]) -> tuple[Path, ...]:
    """The files beside `image` with these names, which may begin with "./".

    Raises `UnreadableImageError` for no name, a name that leads elsewhere, a file that is missing, and
    anything but an ordinary file.
    """
    if not 0 < len(names) <= MOST_FILES:
        raise UnreadableImageError(f"{image} names {len(names)} files with its voxels: correct its header.")
    return tuple(_data_file(image, name.removeprefix("./")) for name in names)


def numbered(image: Path, form: str, first: int, last: int, step: int) -> list[str]:
    """The names of a pattern such as `slice%03d.raw` for the numbers from `first` to `last`.

    Raises `UnreadableImageError` for any other pattern, and for too many numbers.
    """
    match = _PATTERN.fullmatch(form)
    count = (last - first) // step + 1 if step else 0
    if match is None or not 0 < count <= MOST_FILES:
        raise UnreadableImageError(
            f'{image} names its data files by the pattern "{form[:80]}" from {first} to {last} by {step}, '
            "which cannot be: correct its header."
        )
    before, width, after = match.groups()
    return [f"{before}{number:{width}d}{after}" for number in range(first, first + count * step, step)]


def _data_file(image: Path, name: str) -> Path:
    if not name or name in {".", "..", "-"} or re.search(r"[/\\:\0]", name) or not name.isprintable():
        raise UnreadableImageError(
            f"{image} says that its voxels are in {name[:80]!r}: only a file beside it, given by its plain "
            "name, is read."
        )
    file = image.parent / name
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UnreadableImageError(
                f"{image} says that its voxels are in {name}, which is no ordinary file."
            )
        elsewhere = file.is_symlink() and file.resolve().parent != image.parent.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UnreadableImageError(
            f"{image} says that its voxels are in {name[:80]}, which is not beside it: copy that file too."
        ) from error
    if elsewhere:
        raise UnreadableImageError(
            f"{image} says that its voxels are in {name}, a link to another folder: copy the file itself "
            "there."
        )
    return file
