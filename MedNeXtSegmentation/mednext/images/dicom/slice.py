"""One DICOM slice: check that its header tells place, spacing and rescaling, and read its voxels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from ...errors import GeometryError, UnreadableImageError, UnsupportedImageError
from ..geometry import shown
from ..itk_paths import path_for_itk, reason
from .header import DicomHeader, frames_refused

_ANEW = "export the series anew from the archive or the scanner"
# Cosines with three decimals are off by a thousandth each.
_COSINE_TOLERANCE = 5e-3
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2", "")


@dataclass(frozen=True, eq=False)
class Slice:
    """One file: centre of its first voxel in mm LPS, 3x3 directions of its axes (columns), voxels.

    `size` counts columns and rows, `spacing` is along a row and along a column, mm. `rescale` is slope and
    intercept of the stored values, None if the file has none.
    """

    header: DicomHeader
    position: np.ndarray
    direction: np.ndarray
    size: tuple[int, int]
    spacing: tuple[float, float]
    rescale: tuple[float, float] | None

    @property
    def file(self) -> Path:
        """The path of the slice."""
        return self.header.file


def slice_of(header: DicomHeader) -> Slice:
    """The slice that a header describes.

    Raises `UnreadableImageError` for a damaged file, `UnsupportedImageError` for colours, several frames and
    values that are not rescaled by a slope, `GeometryError` for a missing or impossible attribute of its
    place.
    """
    file = header.file
    if header.damage or not header.has_pixels:
        raise damaged(file, header.damage or "it has no pixels")
    if header.get("SamplesPerPixel") not in ("", "1") or (
        header.get("PhotometricInterpretation") not in _MONOCHROME
    ):
        raise UnsupportedImageError(f"{file} is a colour image: choose a series of CT or MR.")
    if (frames := _count(header, "NumberOfFrames")) > 1:
        raise frames_refused(file, frames)
    _check_bits(header)
    size = _count(header, "Columns"), _count(header, "Rows")
    down, across = _spacing(header)
    position = _numbers(header, "ImagePositionPatient", 3)
    return Slice(header, position, _direction(header), size, (across, down), _rescale(header))


def damaged(file: Path, why: str) -> UnreadableImageError:
    """The error for a file that cannot be read to its end."""
    return UnreadableImageError(f"{file} is a damaged DICOM file ({why}): copy it again, or remove it.")


def voxels_of(piece: Slice) -> np.ndarray:
    """The voxels `(Y, X)` of a slice, float32, rescaled.

    Raises `UnreadableImageError` when they cannot be decoded.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)  # else a slope of a half is rounded to whole numbers
    try:
        with _file_for_itk(piece) as file:
            reader.SetFileName(file)
            array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        syntax = piece.header.get("TransferSyntaxUID") or "unknown"
        raise UnreadableImageError(
            f"The pixels of {piece.file} cannot be decoded ({reason(error)}; transfer syntax {syntax}): copy "
            "it again, or convert the series to Explicit VR Little Endian."
        ) from error
    columns, rows = piece.size
    if array.size != rows * columns:
        raise damaged(piece.file, f"{array.size} values for {columns} x {rows} pixels")
    return array.reshape(rows, columns)


@contextmanager
def _file_for_itk(piece: Slice) -> Iterator[str]:
    if piece.header.get("PhotometricInterpretation") == "MONOCHROME1":
        with TemporaryDirectory(prefix="mednext-") as folder:
            yield str(_as_stored(piece.header, Path(folder)))
    else:
        with path_for_itk(piece.file) as file:
            yield file


def _as_stored(header: DicomHeader, folder: Path) -> Path:
    """A copy of a file of MONOCHROME1 that calls itself MONOCHROME2.

    MONOCHROME1 shows low values in white and changes no value, but ITK inverts the values before it rescales
    them.
    """
    if not header.photometric_at:
        raise UnsupportedImageError(
            f"{header.file} is MONOCHROME1 in a deflated file: convert it, with dcmconv for instance."
        )
    content = bytearray(header.file.read_bytes())
    at = content.index(b"MONOCHROME1", header.photometric_at)
    content[at : at + len("MONOCHROME2")] = b"MONOCHROME2"
    copy = folder / "slice.dcm"
    copy.write_bytes(content)
    return copy


def _check_bits(header: DicomHeader) -> None:
    """Refuse values that GDCM would misread: not in the lowest bits, or neither signed nor unsigned."""
    names = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    allocated, stored, high, signed = (int(_numbers(header, name, 1).item()) for name in names)
    if not (0 < stored <= allocated and high == stored - 1 and signed in (0, 1)):
        raise UnsupportedImageError(
            f"{header.file} has the impossible {', '.join(names)} {allocated}, {stored}, {high}, {signed}: "
            f"{_ANEW}."
        )


def _spacing(header: DicomHeader) -> tuple[float, float]:
    """PixelSpacing, mm: between rows, between columns."""
    down, across = _numbers(header, "PixelSpacing", 2).tolist()
    if min(down, across) <= 0:
        raise GeometryError(
            f"{header.file} has the impossible PixelSpacing {shown((down, across))} mm: {_ANEW}."
        )
    return down, across


def _direction(header: DicomHeader) -> np.ndarray:
    """The axes in LPS as the columns of a 3x3 matrix: along a row, along a column, along their normal."""
    cosines = _numbers(header, "ImageOrientationPatient", 6)
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _COSINE_TOLERANCE or (
        abs(row @ column) > _COSINE_TOLERANCE
    ):
        raise GeometryError(
            f"{header.file} has the impossible ImageOrientationPatient {shown(cosines)}, no two "
            f"perpendicular unit vectors: {_ANEW}."
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return np.column_stack([row, column, np.cross(row, column)])


def _rescale(header: DicomHeader) -> tuple[float, float] | None:
    if "ModalityLUTSequence" in header.values:
        raise UnsupportedImageError(
            f"{header.file} rescales its values by a table (ModalityLUTSequence): convert it to a series "
            "with RescaleSlope and RescaleIntercept."
        )
    told = [name for name in ("RescaleSlope", "RescaleIntercept") if header.get(name)]
    if not told:
        return None
    if len(told) < 2:
        raise UnsupportedImageError(
            f"{header.file} has a {told[0]} without the other of RescaleSlope and RescaleIntercept: {_ANEW}."
        )
    slope, intercept = (_numbers(header, name, 1).item() for name in told)
    if slope == 0:
        raise UnsupportedImageError(f"{header.file} has the impossible RescaleSlope 0: {_ANEW}.")
    return slope, intercept


def _count(header: DicomHeader, name: str) -> int:
    """A whole number from 1 on."""
    if not header.get(name) and name == "NumberOfFrames":
        return 1
    number = _numbers(header, name, 1).item()
    if number < 1 or number != int(number):
        raise UnsupportedImageError(f"{header.file} has the impossible {name} {number:g}: {_ANEW}.")
    return int(number)


def _numbers(header: DicomHeader, name: str, count: int) -> np.ndarray:
    text = header.get(name)
    if not text:
        raise GeometryError(
            f"{header.file} {'has an empty' if name in header.values else 'lacks the'} attribute {name}, and "
            f"nothing else in a DICOM file stands for it: {_ANEW}."
        )
    try:
        numbers = [float(part) for part in text.split("\\")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise GeometryError(
            f'{header.file} has the impossible {name} "{text[:80]}", not {count} numbers: {_ANEW}.'
        )
    return np.array(numbers)
