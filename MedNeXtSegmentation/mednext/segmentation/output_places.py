"""Check that results overwrite neither their input images nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from ..errors import OptionError
from ..images.formats.image_files import files_of
from ..system.file_names import as_compared

_DICOM_SEG = b"1.2.840.10008.5.1.4.1.1.66."  # near the beginning of every DICOM segmentation
_BEGINNING = 4096


def check_apart(outputs: Sequence[Path], images: Sequence[str | Path]) -> None:
    """Refuse outputs that would replace an image, a slice of a DICOM series, or each other.

    Args:
        outputs: files to write.
        images: as `read_volume` takes them.

    Raises `OptionError`, also where one file has two names: by a link, or by upper and lower case.
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
    """Whether two paths are or will be one file: many disks ignore the case of names."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return _folded(one) == _folded(other)


def _folded(path: Path) -> str:
    return as_compared(str(path.resolve()))


def _files_of(image: Path) -> Iterator[Path]:
    """The files of an image; for a folder all its DICOM files except segmentations."""
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
