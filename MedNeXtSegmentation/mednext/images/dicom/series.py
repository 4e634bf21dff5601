"""Find the DICOM series in a folder, and read one as an image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError, MedNeXtError, OutOfMemoryError, UnreadableImageError
from ...system.free_memory import obtainable_memory
from ..file_image import ReadImage
from ..geometry import Geometry
from .header import DicomHeader, read_header
from .slice import Slice, damaged, slice_of, voxels_of
from .stack import stacked

_MOST_LISTED = 10

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Classes of objects with pixels that are not images of a patient: doses, segmentations, maps of labels.
_PIXELS_OF_RESULTS = {_STORAGE + number for number in ("481.2", "66.4", "66.7")}
# Classes of images that may be slices: without pixels, a file of them is damaged.
_SLICES = {_STORAGE + number for number in ("1", "2", "2.1", "4", "4.1", "7", "20", "128", "130")}
_SCREENSHOT = _STORAGE + "7"
_PROJECTION = re.compile(r"(?<![A-Z])(MIN|MAX)?_?MIP(?![A-Z])|PROJECTION IMAGE")


@dataclass(frozen=True)
class Series:
    """The slices of a series in the order of k, one per file, their grid, and the doubts about them."""

    slices: tuple[Slice, ...]
    geometry: Geometry
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of each slice."""
        return tuple(piece.file for piece in self.slices)


@dataclass(frozen=True)
class SeriesHeader:
    """The headers of a series, before its slices are looked at.

    Attributes:
        folder: the folder of the files.
        uid: SeriesInstanceUID, "" if the files have none.
        study_uid, modality, description: those of the first file.
        headers: of the files.
        slices: number of files, or of frames if all are in one file.
        left_out: why it is skipped (it holds no images, it is a localizer), or "".
        derived: True if the scanner or a workstation made it of other images.
        problem: the error for a damaged file of this series.
    """

    folder: Path
    uid: str
    study_uid: str
    modality: str
    description: str
    headers: tuple[DicomHeader, ...]
    slices: int
    left_out: str = ""
    derived: bool = False
    problem: MedNeXtError | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in the order of their names."""
        return tuple(header.file for header in self.headers)

    @property
    def has_images(self) -> bool:
        """True if the files hold images, whatever these show."""
        return any(map(_is_image, self.headers))

    @property
    def title(self) -> str:
        """The series for people: modality, description, number of files."""
        count = len(self.headers)
        return f'({self.modality} "{self.description}", {count} file{"s" if count > 1 else ""})'


def series_of(path: str | Path) -> tuple[Path, str | None]:
    """Split `folder#SeriesInstanceUID` into the folder and the series; None without "#".

    Raises `UnreadableImageError` when there is no such folder.
    """
    path = Path(path)
    if path.is_dir():
        return path, None
    folder, _, uid = str(path).rpartition("#")
    if folder and Path(folder).is_dir():
        return Path(folder), uid
    raise UnreadableImageError(f"{path} is no folder: give the folder of a DICOM series.")


def read_series(folder: Path, uid: str | None = None) -> ReadImage:
    """The image of a series, voxels `(Z, Y, X)` float32, rescaled to HU by its files' slope and intercept.

    `uid` is a SeriesInstanceUID; without it the folder must hold one series to segment only. Raises
    `OutOfMemoryError` when there is not enough memory for the voxels, and the errors of `find_series`.
    """
    series = find_series(folder, uid)
    free = obtainable_memory()
    if free is not None and 4 * math.prod(series.geometry.shape) > free:
        raise OutOfMemoryError(
            f"There is not enough memory for the voxels of {folder}, {series.geometry.size} of 4 bytes each: "
            "close other programs."
        )
    array = np.empty(series.geometry.shape, np.float32)
    for plane, piece in zip(array, series.slices, strict=True):
        plane[:] = voxels_of(piece)
    return ReadImage(array, series.geometry, series.warnings, series.files[0])


def find_series(folder: Path, uid: str | None = None) -> Series:
    """The slices of the one series of images in a folder, or of the one with this SeriesInstanceUID.

    Raises `UnreadableImageError` when there is no series, several, or a damaged file; `GeometryError` for
    missing attributes, uneven gaps, a missing slice or a tilted gantry; `UnsupportedImageError` for colour
    images, for several slices at one position and for slices that differ in more than their place.
    """
    found = series_in(folder)
    chosen = _chosen(folder, found, uid)
    others = [] if uid is not None else [each for each in found if each is not chosen]
    warnings = [f"{chosen.left_out} {chosen.title}"] if chosen.left_out else []
    if others:
        listed = _listed([f"{each.title[1:-1]}: {each.left_out}" for each in others])
        warnings.append(f"Other objects in {folder} were left out: {listed}")
    return _stacked(chosen.headers, folder, warnings)


def series_of_files(files: Sequence[Path]) -> Series:
    """The slices in these files, wherever they lie. Raises as `find_series` does."""
    headers = []
    for file in files:
        header = read_header(file)
        if header is None:
            raise damaged(file, "it is no DICOM")
        headers.append(header)
    return _stacked(headers, files[0].parent)


def series_in(folder: Path) -> list[SeriesHeader]:
    """All series of DICOM objects in a folder, without its sub-folders; each file is read once.

    Raises `UnreadableImageError` when a file cannot be read, or is damaged before its SeriesInstanceUID: a
    slice of some series would be missing unnoticed.
    """
    found: dict[str, list[DicomHeader]] = {}
    try:
        files = sorted(folder.iterdir(), key=lambda file: file.name)
    except OSError as error:
        raise UnreadableImageError(
            f"{folder} cannot be read ({error.strerror}): check its permissions."
        ) from error
    for file in files:
        header = read_header(file)
        if header is None:
            continue
        uid = header.get("SeriesInstanceUID")
        if header.damage and not uid and _is_image(header):
            raise damaged(file, header.damage)
        if _is_image(header) or uid:
            found.setdefault(uid, []).append(header)
    return [series_header(folder, uid, headers) for uid, headers in found.items()]


def are_copies(series: Sequence[SeriesHeader]) -> bool:
    """True if these series of the same UID all have the same slices.

    If not, their slices belong together: many archives put no more than a hundred files into a folder.
    """
    if len({header.slices for header in series}) > 1:
        return False
    try:
        first, *others = (_stacked(each.headers, each.folder).geometry for each in series)
    except InputError:
        return False
    return all(other.close_to(first) for other in others)


def _chosen(folder: Path, found: Sequence[SeriesHeader], uid: str | None) -> SeriesHeader:
    images = [each for each in found if each.has_images]
    if not images:
        raise UnreadableImageError(f"{folder} has no DICOM images: give an image file or a series' folder.")
    listed = _listed([f"{each.uid or '(no SeriesInstanceUID)'} {each.title}" for each in images])
    if uid is None:
        fitting = [each for each in images if not each.left_out] or images
        if len(fitting) > 1:
            raise UnreadableImageError(
                f"{folder} holds {len(images)} series, choose one as {folder}#SeriesInstanceUID: {listed}."
            )
        return fitting[0]
    for each in images:
        if each.uid == uid:
            return each
    raise UnreadableImageError(f"{folder} has no series {uid}, it has: {listed}.")


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_LISTED
    return "; ".join(texts[:_MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")


def _stacked(headers: Sequence[DicomHeader], folder: Path, warnings: Sequence[str] = ()) -> Series:
    """Stack the files that show slices; skip localizers and projections of the same series."""
    reasons = [_odd_image(header) if _is_image(header) else "It holds no image." for header in headers]
    good = [header for header, reason in zip(headers, reasons, strict=True) if not reason]
    if good and len(good) < len(headers):
        odd = next(header.file.name for header, reason in zip(headers, reasons, strict=True) if reason)
        warnings = [
            *warnings,
            f"{len(headers) - len(good)} of {len(headers)} files of the series in {folder} were left out "
            f"({odd} for one): {' '.join(sorted(set(reasons) - {''}))}",
        ]
        headers = good
    slices, geometry, doubts = stacked([slice_of(header) for header in headers], folder)
    return Series(tuple(slices), geometry, (*warnings, *doubts))


def series_header(folder: Path, uid: str, headers: Sequence[DicomHeader]) -> SeriesHeader:
    """The series with these headers."""
    images = [header for header in headers if _is_image(header)]
    first = (images or headers)[0]
    problems = (damaged(each.file, each.damage) for each in images if each.damage)
    return SeriesHeader(
        folder,
        uid,
        first.get("StudyInstanceUID"),
        first.get("Modality"),
        first.get("SeriesDescription"),
        tuple(headers),
        len(images) if len(images) > 1 else _frames(first),
        _why_left_out(images),
        all(header.get("ImageType").upper().startswith("DERIVED\\SECONDARY") for header in images),
        next(problems, None),
    )


def _why_left_out(images: Sequence[DicomHeader]) -> str:
    if not images:
        return "It holds no images."
    for reason in dict.fromkeys(map(_odd_image, images)):
        if reason and all(_odd_image(header) == reason for header in images):
            return reason
    if len(images) == 1 and _frames(images[0]) < 2:
        return "It is a single slice."
    return ""


def _odd_image(header: DicomHeader) -> str:
    """Why an image, by its header, is not a slice of a stack; "" for a slice."""
    kinds = header.get("ImageType").upper().split("\\")[2:]
    if "LOCALIZER" in kinds:
        return "It is a localizer."
    if any(_PROJECTION.search(kind) for kind in kinds):
        return "It is a projection (MIP)."
    if header.get("SamplesPerPixel") not in ("", "1"):
        return "It is in colour."
    if header.get("SOPClassUID") == _SCREENSHOT and "ImagePositionPatient" not in header.values:
        return "It is a screenshot (secondary capture), with no place in the patient."
    return ""


def _is_image(header: DicomHeader) -> bool:
    """True if a file holds an image, or did before it was damaged."""
    known = header.get("SOPClassUID")
    if known in _PIXELS_OF_RESULTS:
        return False
    if header.has_pixels or known in _SLICES or "Rows" in header.values:
        return True
    return bool(header.damage) and not known


def _frames(header: DicomHeader) -> int:
    text = header.get("NumberOfFrames")
    return int(text) if text.isdecimal() and len(text) < 9 else 1
