"""Read a DICOM series, after checking that its slices make an evenly spaced, upright stack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import GeometryError, InputError, UnreadableImageError, UnsupportedImageError
from ..geometry import Geometry, shown
from .image_files import ReadImage, reason, refuse_frames

# Positions are often written with few decimals; beside a missing slice they are off by half a gap.
_SLICE_TOLERANCE = 0.2  # of the gap between slices
_TILT_TOLERANCE_DEGREES = 0.5

_DESCRIPTION, _MODALITY, _STUDY = "0008|103e", "0008|0060", "0020|000d"
_NO_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "SR", "PR", "KO"}


@dataclass(frozen=True)
class Series:
    """The files of a series, one slice each, in the order of k, and the grid that they make."""

    files: tuple[Path, ...]
    geometry: Geometry


@dataclass(frozen=True)
class SeriesHeader:
    """What a series of images says of itself, before its slices are looked at.

    `slices` counts the files, or the frames where all are in one file.
    """

    folder: Path
    uid: str
    study_uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    slices: int

    @property
    def title(self) -> str:
        """What a person calls the series."""
        return f'({self.modality} "{self.description}", {len(self.files)} files)'


@dataclass(frozen=True)
class _Slice:
    """One file: centre of its first voxel in mm LPS, 3x3 directions of its axes (columns), voxels."""

    file: Path
    position: np.ndarray
    direction: np.ndarray
    size: tuple[int, int]
    spacing: tuple[float, float]


def series_of(path: str | Path) -> tuple[Path, str | None]:
    """The folder and, of `folder#SeriesInstanceUID`, the series.

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
    """The image of a series, voxels `(Z, Y, X)` float32, rescaled to HU where its files say so.

    `uid` is a SeriesInstanceUID; without it the folder must hold one series of images only. Raises as
    `find_series` does.
    """
    series = find_series(folder, uid)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in series.files])
    reader.SetOutputPixelType(sitk.sitkFloat32)  # else the first slice's type rounds the others' values
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise UnreadableImageError(
            f"{folder} has a damaged DICOM file ({reason(error)}): copy it again."
        ) from error
    return ReadImage(sitk.GetArrayFromImage(image), series.geometry)


def find_series(folder: Path, uid: str | None = None) -> Series:
    """The slices of the one series of images in a folder, or of the one with this SeriesInstanceUID.

    Raises `UnreadableImageError` when there is no series, several, or a damaged file; `GeometryError` for
    uneven gaps, a missing slice or a tilted gantry; `UnsupportedImageError` for colour images, for several
    slices at one position and for mixed sizes.
    """
    return _stacked(_series_files(folder, uid), folder)


def series_of_files(files: Sequence[Path]) -> Series:
    """The slices in these files, wherever they lie. Raises as `find_series` does."""
    return _stacked(list(files), files[0].parent)


def series_in(folder: Path) -> list[SeriesHeader]:
    """All series of images in a folder, not in those below it.

    Raises `UnreadableImageError` when a file is damaged.
    """
    ids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    found = {each: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), each) for each in ids}
    _check_all_belong(folder, found)
    headers = (_header(folder, each, files) for each, files in found.items())
    return [header for header in headers if header]


def are_copies(series: Sequence[SeriesHeader]) -> bool:
    """Whether each of these has all slices, or at least the same ones; they have the same UID.

    Else their slices belong together: many archives put no more than a hundred files into a folder.
    """
    if len({header.slices for header in series}) > 1:
        return False
    try:
        first, *others = (series_of_files(header.files).geometry for header in series)
    except InputError:
        return False
    return all(other.close_to(first) for other in others)


def _series_files(folder: Path, uid: str | None) -> list[Path]:
    """The files of the series, in no particular order."""
    found = {header.uid: header for header in series_in(folder)}
    if not found:
        raise UnreadableImageError(f"{folder} has no DICOM images: give an image file or a series' folder.")
    listed = "; ".join(f"{each} {header.title}" for each, header in found.items())
    if uid is None and len(found) > 1:
        raise UnreadableImageError(
            f"{folder} holds {len(found)} series, choose one as {folder}#SeriesInstanceUID: {listed}."
        )
    if uid is not None and uid not in found:
        raise UnreadableImageError(f"{folder} has no series {uid}, it has: {listed}.")
    return list(found[uid or next(iter(found))].files)


def _check_all_belong(folder: Path, found: Mapping[str, Sequence[str]]) -> None:
    """GDCM passes over files that it cannot read; the first or last slice would be missing unnoticed."""
    known = {Path(file).name for files in found.values() for file in files}
    for file in sorted(folder.iterdir()):
        if file.name in known or file.name == "DICOMDIR" or not file.is_file():
            continue
        with file.open("rb") as content:
            if content.read(132)[128:] == b"DICM":
                raise UnreadableImageError(f"{file} is a damaged DICOM file: copy it again, or remove it.")


def _header(folder: Path, uid: str, files: Sequence[str]) -> SeriesHeader | None:
    """What the first file says of its series; None when that holds no images."""
    reader = sitk.ImageFileReader()
    try:
        reader.SetFileName(files[0])
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    modality, description, study_uid = (
        reader.GetMetaData(key).strip().strip("\0") if reader.HasMetaDataKey(key) else ""
        for key in (_MODALITY, _DESCRIPTION, _STUDY)
    )
    if modality in _NO_IMAGES:
        return None
    slices = len(files) if len(files) > 1 else max(reader.GetSize()[2:], default=1)
    paths = tuple(Path(file) for file in files)
    return SeriesHeader(folder, uid, study_uid, modality, description, paths, slices)


def _read_slice(file: Path) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableImageError(
            f"{file} is a damaged DICOM file ({reason(error)}): copy it again."
        ) from error
    if reader.GetNumberOfComponents() > 1:
        raise UnsupportedImageError(f"{file} is a colour image: choose a series of CT or MR.")
    refuse_frames(reader, file)
    columns, rows = reader.GetSize()[:2]
    direction = np.reshape(reader.GetDirection(), (3, 3))
    across, down, _ = reader.GetSpacing()
    return _Slice(file, np.array(reader.GetOrigin()), direction, (columns, rows), (across, down))


def _stacked(files: list[Path], folder: Path) -> Series:
    """The slices in the order of their positions along the normal, once they are known to make a grid."""
    slices = [_read_slice(file) for file in files]
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise UnsupportedImageError(
                f"{folder} mixes slices of {first.size} voxels at {shown(first.spacing)} mm and {other.size} "
                f"at {shown(other.spacing)} mm: keep one kind."
            )
        if not np.allclose(other.direction, first.direction, atol=1e-3):
            raise GeometryError(
                f"{folder} mixes slices of different directions (localizers?): remove the odd ones."
            )
    if len(slices) < 2:
        raise UnsupportedImageError(f"{folder} has a single slice: give the folder of a whole series.")
    normal = first.direction[:, 2]
    slices.sort(key=lambda s: float(s.position @ normal))
    positions = np.array([s.position for s in slices])
    _check_gaps(positions @ normal, folder)
    _check_upright(positions, normal, max(first.spacing), folder)
    gap = float((positions[-1] - positions[0]) @ normal) / (len(slices) - 1)
    x, y, z = positions[0].tolist()
    geometry = Geometry(
        (*first.size, len(slices)), (*first.spacing, gap), (x, y, z), tuple(first.direction.ravel())
    )
    return Series(tuple(s.file for s in slices), geometry)


def _check_gaps(depths: np.ndarray, folder: Path) -> None:
    """Refuse slices, at these ascending depths in mm, that are not where even spacing would put them."""
    gaps = np.diff(depths)
    gap = float(np.median(gaps))
    if gaps.min() <= 0.01 * gap:
        raise UnsupportedImageError(
            f"{folder} has several slices at {depths[int(gaps.argmin())]:.2f} mm (a time series, or several "
            "echoes?): keep one slice for each position."
        )
    even = np.linspace(depths[0], depths[-1], len(depths))
    if np.abs(depths - even).max() > _SLICE_TOLERANCE * gap:
        raise GeometryError(
            f"{folder} has uneven gaps between slices, {gaps.min():.2f} to {gaps.max():.2f} mm, the widest "
            f"after {depths[int(gaps.argmax())]:.2f} mm: add the missing slices or resample the series."
        )


def _check_upright(positions: np.ndarray, normal: np.ndarray, pixel: float, folder: Path) -> None:
    """Refuse a stack that leans, or has slices beside it: read upright, these slices are displaced.

    `positions` are those of the slices in order, mm; `pixel` is the longer side of a pixel in mm.
    """
    run = positions - positions[0]
    along = run @ normal
    beside = np.linalg.norm(run - np.outer(along, normal), axis=1)
    tilt = math.degrees(math.atan2(beside[-1], along[-1]))
    if tilt > _TILT_TOLERANCE_DEGREES or beside[-1] > pixel:
        raise GeometryError(
            f"{folder} was made with a gantry tilted by {tilt:.1f} degrees: load it in Slicer, which "
            "corrects this, harden its transform, resample it and save it as NRRD."
        )
    if beside.max() > pixel:
        raise GeometryError(
            f"{folder} has slices that are displaced by up to {beside.max():.1f} mm against the first one, "
            "within their plane: give slices of one stack only."
        )
