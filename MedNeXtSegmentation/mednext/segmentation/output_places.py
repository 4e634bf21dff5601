"""Where results may be written: not on an image that they are made of, and not on one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from ..errors import OptionError
from ..images.formats.image_files import files_of
from ..system.file_names import as_compared

_DICOM_SEG = b"1.2.840.10008.5.1.4.1.1.66."  # near the beginning of every DICOM file that is a segmentation
_BEGINNING = 4096


def check_apart(outputs: Sequence[Path], images: Sequence[str | Path]) -> None:
    """Refuse outputs that would replace an image, a slice of a DICOM series, or each other.

    Args:
        outputs: files to write.
        images: what `read_volume` takes.

    Raises `OptionError`, also where the same file has another name: a link, or other upper and lower case.
    """
    for one, other in combinations(outputs, 2):
        if _is_same(one, other):
            raise OptionError(
                f"{one} and {other} are one file, which cannot hold both results: give two names."
            )
    for output in outputs:
        for image in images:
            for file in _files_of(Path(image)):
                if _is_same(output, file):
                    raise OptionError(
                        f"{output} is the image {file} itself, which would be lost: choose another name."
                    )


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, or will: names that differ in case only are one for many disks."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return _folded(one) == _folded(other)


def _folded(path: Path) -> str:
    return as_compared(str(path.resolve()))


def _files_of(image: Path) -> Iterator[Path]:
    """The files of an image; of a folder all DICOM files, unless they are segmentations made of it."""
    folder = image if image.is_dir() else Path(str(image).rpartition("#")[0])
    if image.is_file():
        yield from files_of(image)
    elif folder.name and folder.is_dir():
        yield from (file for file in folder.iterdir() if file.is_file() and _is_slice(file))


def _is_slice(file: Path) -> bool:
    with file.open("rb") as content:
        start = content.read(_BEGINNING)
    is_dicom = start[128:132] == b"DICM" or (start[:2] == b"\x08\x00" and start[3:4] == b"\0")
    return is_dicom and _DICOM_SEG not in start
