"""Read and write one image file: NIfTI, NRRD, MetaImage.

Strangers' files never reach ITK: it invents a place and a unit that a file does not give, and damaged headers
crash it. So headers are checked and voxels are read by hand.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import (
    DiskSpaceError,
    GeometryError,
    InputError,
    MedNeXtError,
    OutOfMemoryError,
    OutputError,
    UnreadableImageError,
    UnsupportedImageError,
)
from ...system.atomic import replacing
from ..dicom.header import frames_refused
from ..dicom.header import read_header as dicom_header
from ..file_image import ReadImage
from ..geometry import Geometry
from ..itk_paths import path_for_itk, reason
from ..source_image import kept_type
from .foreign_files import refuse_foreign, unknown
from .image_header import ImageHeader, refuse_flat
from .nifti_header import SUFFIXES as NIFTI_SUFFIXES
from .nifti_header import nifti_header
from .nifti_writing import write_nifti
from .nrrd_header import nrrd_fields
from .readable import format_named, named_formats
from .stored_voxels import check_stream, read_voxels

# One file each: a pair of files cannot be replaced in one step.
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")

_GZIP_LEVEL = 4
_LEAST_FREE_BYTES = 2**16  # a disk with less left counts as full

logger = logging.getLogger(__name__)


def read_image(path: Path) -> ReadImage:
    """The image in one file; uint8 and int16 voxels as they are, others as float32, which may have NaN.

    Raises `UnreadableImageError` when the file is missing, empty, truncated or no image,
    `UnsupportedImageError` when it is not one scalar volume, `GeometryError` when its place in space is
    unclear, `OutOfMemoryError` when there is not enough memory for its voxels.
    """
    try:
        return _read(path)
    except (MedNeXtError, OSError):
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"There is not enough memory for the voxels of {path}: close other programs, or check its header."
        ) from error
    except Exception as error:  # boundary: a stranger's header
        logger.exception("%s cannot be read.", path)
        raise UnreadableImageError(f"{path} is damaged ({error}): copy it again.") from error


def _read(path: Path) -> ReadImage:
    header = read_header(path)
    refuse_flat(path, header.geometry.size)
    array, left_over = read_voxels(header.voxels)
    array = _kept(_scaled(array, header), path)
    return ReadImage(array, header.geometry, tuple(filter(None, (*header.warnings, left_over))))


def read_header(path: Path) -> ImageHeader:
    """The header of the image in one file. Raises the errors of `read_image`."""
    if not path.exists():
        raise UnreadableImageError(f"{path} does not exist: check the name.")
    if not path.is_file():
        raise UnreadableImageError(f"{path} is no ordinary file: give the image as one.")
    if path.stat().st_size == 0:
        raise UnreadableImageError(f"{path} is empty (0 bytes): copy it again.")
    format = format_named(path.name)
    if format is None:
        raise _unknown(path)
    refuse_foreign(path, format.beginnings)
    return format.read_header(path)


def _unknown(path: Path) -> InputError:
    """The error for a file of no known format."""
    dicom = dicom_header(path)
    frames = dicom.get("NumberOfFrames") if dicom else ""
    if frames.isdecimal() and len(frames) < 10 and int(frames) > 1:
        return frames_refused(path, int(frames))
    if dicom:
        return UnsupportedImageError(f"{path} is one slice of a DICOM series: give the folder.")
    return unknown(path, named_formats())


def files_of(path: Path) -> tuple[Path, ...]:
    """An image file and, if it is a detached header, the readable files with its voxels."""
    format = format_named(path.name)
    if format is None or not format.detached:
        return (path,)
    try:
        return tuple(dict.fromkeys((path, *read_header(path).voxels.files)))
    except (InputError, OSError):
        return (path,)


def write_image(path: str | Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` `(Z, Y, X)` in the format of the suffix, compressed; read it back; then rename it.

    A NIfTI file gets the forms of the grid's own NIfTI file.

    Raises `OutputError` for an unknown format or a place that cannot be written, `DiskSpaceError` for a full
    disk, `GeometryError` for an array that is not on the grid. Nothing is left behind then.
    """
    path = Path(path)
    if not path.name.lower().endswith(WRITABLE):
        raise OutputError(f"{path} has no known image suffix: use one of {', '.join(WRITABLE)}.")
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        stored = _storable(array, geometry)
        with replacing(path) as temporary:
            write_nifti(temporary, stored, geometry, _GZIP_LEVEL)
            _verify_nifti(temporary, stored, geometry, path)
        return
    image = to_image(array, geometry)
    with replacing(path) as temporary:
        write_verified(image, temporary, path)


def _storable(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The array in a type that files can store: bool becomes uint8, float16 float32."""
    if array.shape != geometry.shape:
        raise GeometryError(f"An array of shape {array.shape} is not on a grid of shape {geometry.shape}.")
    widened = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}.get(array.dtype, array.dtype)
    return np.ascontiguousarray(array, dtype=widened)


def _verify_nifti(temporary: Path, array: np.ndarray, geometry: Geometry, path: Path) -> None:
    """Read a NIfTI file back: the format rounds places, and disks fail silently."""
    try:
        header = nifti_header(temporary)
        written, _ = read_voxels(header.voxels)
    except UnreadableImageError as error:
        raise _unwritten(path, "was not written completely") from error
    except InputError as error:
        raise OutputError(f"{path} cannot keep this image: use .nrrd.") from error
    if not np.array_equal(written, array, equal_nan=array.dtype.kind == "f"):
        raise _unwritten(path, "was not written completely")
    if not header.geometry.close_to(geometry):
        raise OutputError(f"{path} cannot keep this image's place in space: use .nrrd.")


def to_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """The SimpleITK image of `array` `(Z, Y, X)`; bool becomes uint8, float16 float32."""
    image = sitk.GetImageFromArray(_storable(array, geometry), isVector=False)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def write_verified(image: sitk.Image, temporary: Path, path: Path) -> None:
    """Write `image` to `temporary` and read it back; the messages name `path`, which it will become."""
    try:
        with path_for_itk(temporary) as file:
            sitk.WriteImage(image, file, useCompression=True, compressionLevel=_GZIP_LEVEL)
            written = sitk.ReadImage(file)
        if temporary.suffix == ".nrrd":  # ITK neither notices a lost end of it nor needs it
            check_stream(temporary, nrrd_fields(temporary).end)
    except RuntimeError as error:
        raise _unwritten(path, f"could not be written ({reason(error)})") from error
    except UnreadableImageError as error:
        raise _unwritten(path, "was not written completely") from error
    # Some of ITK's writers do not notice a full disk.
    before, after = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(written)
    if not np.array_equal(before, after, equal_nan=True):
        raise _unwritten(path, "was not written completely")
    if not Geometry.from_image(written).close_to(Geometry.from_image(image)):
        raise OutputError(f"{path} cannot keep this image's place in space: use .nrrd.")


def _unwritten(path: Path, failure: str) -> OutputError | DiskSpaceError:
    """The error for a file that could not be written; ITK gives no cause, but a full disk can be seen."""
    if shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES:
        return DiskSpaceError(f"The disk is full: {path} was not written. Free some space.")
    return OutputError(f"{path} {failure}: check the disk's free space.")


def _kept(array: np.ndarray, path: Path) -> np.ndarray:
    """A copy in the kept type. Raises `UnsupportedImageError` if a number would become infinite."""
    largest = np.finfo(np.float32).max
    if array.dtype == np.float64:
        finite = np.abs(array, where=np.isfinite(array), out=np.zeros(array.shape))
        if finite.max() > largest:
            raise UnsupportedImageError(
                f"{path} has the voxel value {finite.max():.3g}, no intensity: rescale it."
            )
    return array.astype(kept_type(array.dtype))


def _scaled(array: np.ndarray, header: ImageHeader) -> np.ndarray:
    """The voxels as float32 with slope and intercept applied, or as they are if these change nothing."""
    if (header.slope, header.intercept) == (1.0, 0.0):
        return array
    scaled = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for plane, out in zip(array, scaled, strict=True):  # as float64, all would take much memory
            out[:] = plane.astype(np.float64) * header.slope + header.intercept
    return scaled
