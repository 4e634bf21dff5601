"""Volumes: one or several channels on one grid, read from files and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from ..errors import ChannelError, GeometryError, UnreadableImageError, UnsupportedImageError
from .description.described_files import describe_file
from .description.image_description import ImageDescription
from .dicom.series import read_series, series_of
from .file_image import ReadImage
from .formats.image_files import read_image, to_image, write_image
from .geometry import Geometry
from .plausible_grids import check_grid, check_overlap
from .plausible_voxels import check_voxels
from .source_image import kept_type

__all__ = [
    "Volume",
    "check_volume",
    "combine_channels",
    "handed_over",
    "read_channels",
    "read_volume",
    "write_image",
]

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Volume:
    """`array` `(C, Z, Y, X)` on `geometry`; `names` has one name per channel, for messages.
    `images` describes each channel; it is empty if only the names are known.
    `warnings` are sentences about everything doubtful in the files that it was read from: the run shows them
    and writes them into the provenance.

    Voxels of any given type become uint8, int16 or float32 (`kept_type`).

    Raises `GeometryError` when the array is not on the grid.
    """

    array: np.ndarray
    geometry: Geometry
    names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    images: tuple[ImageDescription, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.geometry.shape:
            raise GeometryError(
                f"An array (C, Z, Y, X) of shape {self.array.shape} is not on a grid of shape "
                f"{self.geometry.shape}."
            )
        object.__setattr__(self, "array", np.asarray(self.array, kept_type(self.array.dtype)))

    def name(self, channel: int) -> str:
        """The name of a channel in messages."""
        return self.names[channel] if channel < len(self.names) else f"channel {channel + 1}"

    @property
    def described(self) -> tuple[ImageDescription, ...]:
        """The description of each channel, of its name alone if nothing else is known."""
        return self.images or tuple(ImageDescription(self.name(n)) for n in range(len(self.array)))


def read_volume(path: str | Path, insist: bool = False) -> Volume:
    """One channel from a file (NIfTI, NRRD, MetaImage) or a folder with one DICOM series.

    A folder with several series is refused with their list; `folder#SeriesInstanceUID` picks one.
    `insist` is that of `check_volume`. Raises the errors of `read_image`, `read_series` and `check_volume`.
    """
    path = Path(path)
    try:
        image = _read(path)
        known = describe_file(path, image.dicom)
    except OSError as error:
        raise UnreadableImageError(
            f"{path} cannot be read ({error.strerror}): check it and its permissions."
        ) from error
    volume = Volume(image.array[np.newaxis], image.geometry, (path.name,), image.warnings, (known,))
    return check_volume(volume, insist)


def _read(path: Path) -> ReadImage:
    if path.is_dir() or ("#" in path.name and not path.exists()):
        folder, uid = series_of(path)
        return read_series(folder, uid)
    return read_image(path)


def read_channels(paths: Sequence[str | Path], insist: bool = False) -> Volume:
    """Several files or folders, one channel each, on the grid of the first; see `read_volume`."""
    return combine_channels([read_volume(path, insist) for path in paths])


def handed_over(volumes: list[_T]) -> Iterator[_T]:
    """Yield one after the other and drop it from the list, so that its memory can be freed."""
    while volumes:
        yield volumes.pop(0)


def combine_channels(volumes: Sequence[Volume]) -> Volume:
    """All channels on the grid of the first volume.

    A channel on the same grid is taken as it is; any other is resampled linearly, whatever its orientation
    and spacing. Beyond its border a channel gets its own minimum: air or background in CT and MR.

    Raises `ChannelError` when there is no volume, `GeometryError` when a channel covers less than a quarter
    of the first one's volume.
    """
    if not volumes:
        raise ChannelError("No image was given: give one image for each channel of the model.")
    first = volumes[0]
    arrays = [first.array]
    warnings = [warning for volume in volumes for warning in volume.warnings]
    for volume in volumes[1:]:
        if volume.geometry.close_to(first.geometry):
            arrays.append(volume.array)
        else:
            warnings.append(check_overlap(volume.geometry, first.geometry, volume.name(0), first.name(0)))
            arrays.append(_resampled(volume, first.geometry))
    names = tuple(v.name(c) for v in volumes for c in range(len(v.array)))
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    images = tuple(image for volume in volumes for image in volume.described)
    return Volume(array, first.geometry, names, tuple(dict.fromkeys(filter(None, warnings))), images)


def check_volume(volume: Volume, insist: bool = False) -> Volume:
    """Return the volume as it is used; refuse one that cannot be an image to segment.

    With `insist`, NaN and infinite voxels become the smallest value, a label image is taken for an image, and
    the warnings say so.

    Raises `UnsupportedImageError` for an axis with one voxel and a spacing outside 0.01 to 100 mm, and the
    errors of `check_voxels`.
    """
    check_grid(volume.geometry, volume.name(0))
    if not len(volume.array):
        raise UnsupportedImageError("The volume has no channel: give at least one image.")
    checked = [check_voxels(array, volume.name(n), insist) for n, array in enumerate(volume.array)]
    doubts = [doubt for each in checked for doubt in each.doubts]
    if not doubts:
        return volume
    array = np.stack([each.array for each in checked])
    return replace(volume, array=array, warnings=tuple(dict.fromkeys([*volume.warnings, *doubts])))


def _resampled(volume: Volume, geometry: Geometry) -> np.ndarray:
    """The channels `(C, Z, Y, X)` on another grid, linearly."""
    reference = to_image(np.zeros(geometry.shape, dtype=np.uint8), geometry)
    channels = []
    for array in volume.array:
        background = float(array.min())
        image = to_image(np.asarray(array, np.float32), volume.geometry)  # ITK would round to integers
        moved = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, background)
        channels.append(sitk.GetArrayFromImage(moved))
    return np.stack(channels)
