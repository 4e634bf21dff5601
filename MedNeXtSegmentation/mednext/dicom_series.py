"""Read a DICOM series, after checking that its slices make an evenly spaced, upright stack."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import GeometryError, UnreadableImageError, UnsupportedImageError
from .geometry import Geometry
from .image_files import grid_of, read_image, reason

# Positions are often written with one or two decimals only; beside a missing slice they are off by half a
# gap.
_SLICE_TOLERANCE = 0.2  # of the gap between slices
_TILT_TOLERANCE_DEGREES = 0.5

_DESCRIPTION, _MODALITY = "0008|103e", "0008|0060"
_NO_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "SR", "PR", "KO"}


@dataclass(frozen=True)
class _Slice:
    """One file: centre of its first voxel in mm LPS, 3x3 directions of its axes (columns), voxels."""

    file: str
    position: np.ndarray
    direction: np.ndarray
    size: tuple[int, ...]
    spacing: tuple[float, ...]


def read_series(folder: Path, series: str | None = None) -> tuple[np.ndarray, Geometry]:
    """The voxels `(Z, Y, X)` float32 and the grid of a series, rescaled to HU where its files say so.

    `series` is a SeriesInstanceUID; without it the folder must hold one series of images only.

    Raises `UnreadableImageError` when there is no series, several, or a damaged file; `GeometryError` for
    uneven gaps, a missing slice or a tilted gantry; `UnsupportedImageError` for repeated positions and mixed
    sizes.
    """
    files = series_files(folder, series)
    if len(files) == 1:
        return read_image(Path(files[0]))
    files = _stacked([_read_slice(file) for file in files], folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.SetOutputPixelType(
        sitk.sitkFloat32
    )  # else the first slice's type rounds the others' rescaled values
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise UnreadableImageError(
            f"{folder} has a damaged DICOM file ({reason(error)}): copy it again."
        ) from error
    return sitk.GetArrayFromImage(image), grid_of(image, folder)


def series_files(folder: Path, series: str | None = None) -> list[str]:
    """The files of the series, in no particular order; raises `UnreadableImageError` like `read_series`."""
    found = {
        uid: files
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if (files := sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))
    }
    if series is not None and series in found:
        return list(found[series])
    titles = {uid: title for uid, files in found.items() if (title := _title(files))}
    if not titles:
        raise UnreadableImageError(
            f"{folder} holds no DICOM images: give an image file or the folder of a series."
        )
    listed = "; ".join(f"{uid} {title}" for uid, title in titles.items())
    if series is not None:
        raise UnreadableImageError(f"{folder} has no series {series}, it has: {listed}.")
    if len(titles) > 1:
        raise UnreadableImageError(
            f"{folder} holds {len(titles)} series, choose one as {folder}#SeriesInstanceUID: {listed}."
        )
    return list(found[next(iter(titles))])


def _title(files: tuple[str, ...]) -> str | None:
    """What a person calls the series, or None when it holds no images."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    keys = reader.GetMetaDataKeys()
    modality, description = (
        reader.GetMetaData(key).strip() if key in keys else "" for key in (_MODALITY, _DESCRIPTION)
    )
    if modality in _NO_IMAGES:
        return None
    return f'({modality} "{description}", {len(files)} slices)'


def _read_slice(file: str) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableImageError(
            f"{file} is a damaged DICOM file ({reason(error)}): copy it again."
        ) from error
    if reader.GetNumberOfComponents() > 1:
        raise UnsupportedImageError(f"{file} is a colour image: choose a series of CT or MR.")
    direction = np.reshape(reader.GetDirection(), (3, 3))
    return _Slice(file, np.array(reader.GetOrigin()), direction, reader.GetSize(), reader.GetSpacing()[:2])


def _stacked(slices: list[_Slice], folder: Path) -> list[str]:
    """The files in the order of their positions along the normal, which make a regular grid."""
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise UnsupportedImageError(
                f"{folder} mixes slices of {first.size[:2]} voxels at {first.spacing} mm and "
                f"{other.size[:2]} at "
                f"{other.spacing} mm: keep one kind."
            )
        if not np.allclose(other.direction, first.direction, atol=1e-3):
            raise GeometryError(
                f"{folder} mixes slices of different directions (localizers?): remove the odd ones."
            )
    normal = first.direction[:, 2]
    slices = sorted(slices, key=lambda s: float(s.position @ normal))
    positions = np.array([s.position for s in slices])
    _check_gaps(positions @ normal, folder)
    _check_tilt(positions, normal, folder)
    return [s.file for s in slices]


def _check_gaps(depths: np.ndarray, folder: Path) -> None:
    """Refuse slices, at these ascending depths in mm, that are not where even spacing would put them."""
    gaps = np.diff(depths)
    even = np.linspace(depths[0], depths[-1], len(depths))
    gap = float(np.median(gaps))
    if gaps.min() < 0.01 * gap or gap == 0:
        raise UnsupportedImageError(
            f"{folder} has several slices at {depths[int(gaps.argmin())]:.2f} mm (a time series, or several "
            "echoes in "
            "one series?): keep one slice for each position."
        )
    if np.abs(depths - even).max() > _SLICE_TOLERANCE * gap:
        widest = int(gaps.argmax())
        raise GeometryError(
            f"{folder} has uneven gaps between slices, {gaps.min():.2f} to {gaps.max():.2f} mm, the widest "
            "after "
            f"{depths[widest]:.2f} mm: a slice is missing, or resample the series first."
        )


def _check_tilt(positions: np.ndarray, normal: np.ndarray, folder: Path) -> None:
    """Refuse a stack that leans: ITK would read it upright and displace every slice."""
    run = positions[-1] - positions[0]
    along = float(run @ normal)
    tilt = math.degrees(math.atan2(float(np.linalg.norm(run - along * normal)), along))
    if tilt > _TILT_TOLERANCE_DEGREES:
        raise GeometryError(
            f"{folder} was made with a gantry tilted by {tilt:.1f} degrees: load it in Slicer, which "
            "corrects this, "
            "harden its transform, resample it and save it as NRRD."
        )
