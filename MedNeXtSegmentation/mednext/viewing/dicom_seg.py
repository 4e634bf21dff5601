"""Read a DICOM SEG for the viewer, with highdicom."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GeometryError, MissingPackageError, UnreadableImageError, UnsupportedImageError
from ..images.geometry import Geometry
from ..segmentation.formats.cielab import to_rgb
from ..segmentation.formats.dicom_seg_source import quietly
from .overlapping import combined

logger = logging.getLogger(__name__)

Described = tuple[int, str, tuple[int, int, int] | None]


def is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM file, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False  # the reader of images tells the reason


def read_dicom_seg(
    path: Path,
) -> tuple[np.ndarray, Geometry, list[tuple[Described, tuple[int, ...]]]]:
    """The combined labelmap `(Z, Y, X)`, its grid, and each segment with its values in the labelmap.

    A segment is described by number, name and colour, which is None where the file has none.

    Raises:
        MissingPackageError: without highdicom.
        UnreadableImageError: the file cannot be read.
        UnsupportedImageError: it is no DICOM SEG, or its slices form no volume.
    """
    try:
        import highdicom
    except ImportError as error:
        raise MissingPackageError(
            "Reading DICOM SEG needs highdicom: pip install 'slicer-mednext-segmentation[dicom]'."
        ) from error
    with quietly():
        try:
            seg = highdicom.seg.segread(path)
            numbers = sorted(int(number) for number in seg.segment_numbers)
            first = _volume(seg, numbers[0])
            geometry = _geometry(first)
            found, values = combined(_masks(seg, numbers, first), first.array.shape)
            described = [_described(seg, number) for number in numbers]
        except (GeometryError, MemoryError):
            raise
        except OSError as error:
            raise UnreadableImageError(
                f"{path} cannot be read ({error.strerror}): check the path."
            ) from error
        except Exception as error:  # boundary: highdicom raises anything
            logger.debug("highdicom refused %s.", path, exc_info=True)
            raise UnsupportedImageError(
                f"{path} is no DICOM SEG whose slices form a volume ({type(error).__name__}): give a "
                "segmentation."
            ) from None
    values += [()] * (len(numbers) - len(values))
    return found, geometry, list(zip(described, values, strict=True))


def _volume(seg: Any, number: int) -> Any:
    """One segment as a volume over all slices of the file."""
    return seg.get_volume(segment_numbers=[number], combine_segments=True, relabel=True)


def _masks(seg: Any, numbers: list[int], first: Any) -> Iterator[np.ndarray]:
    yield first.array > 0
    for number in numbers[1:]:
        yield _volume(seg, number).array > 0


def _geometry(volume: Any) -> Geometry:
    """The grid; the array's axes are slice, row, column, and the affine leads from them to LPS."""
    affine = np.asarray(volume.affine, float)[:3]
    columns = affine[:, [2, 1, 0]]
    spacing = np.linalg.norm(columns, axis=0)
    size = volume.array.shape[::-1]
    return Geometry(size, tuple(spacing), tuple(affine[:, 3]), tuple((columns / spacing).ravel()))


def _described(seg: Any, number: int) -> Described:
    description = seg.get_segment_description(number)
    lab = description.get("RecommendedDisplayCIELabValue")
    return number, str(description.segment_label), to_rgb(lab) if lab is not None else None
