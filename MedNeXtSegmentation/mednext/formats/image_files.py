"""Read and write one image file through SimpleITK: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..atomic import replacing
from ..errors import (
    DiskSpaceError,
    GeometryError,
    InputError,
    OutputError,
    UnreadableImageError,
    UnsupportedImageError,
)
from ..geometry import Geometry, shown
from ..itk_paths import check_for_itk
from .nifti_header import SUFFIXES as NIFTI_SUFFIXES
from .nifti_header import check_nifti

# One file each: a pair of files cannot be replaced in one step.
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")

_COMPLEX = {sitk.sitkComplexFloat32, sitk.sitkComplexFloat64}
# ITK takes any other space for LPS.
_PATIENT_SPACES = {"left-posterior-superior", "right-anterior-superior", "left-anterior-superior"}
_SOP_CLASS = "0008|0016"  # only DICOM files have it
_GZIP_LEVEL = 4
_LONGEST_LINE, _LONGEST_HEADER = 2**16, 2**24
_LEAST_FREE_BYTES = 2**16  # what is left of a disk on which a file did not go on


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image as its file says it is.

    Attributes:
        array: voxels `(Z, Y, X)`.
        geometry: their grid.
        warnings: sentences about everything doubtful in the file; they go with the volume to the user.
    """

    array: np.ndarray
    geometry: Geometry
    warnings: tuple[str, ...] = ()


def read_image(path: Path) -> ReadImage:
    """The image in one file; uint8 and int16 voxels as they are, others as float32, NaN among them.

    Raises `UnreadableImageError` when the file is missing, empty, truncated or no image,
    `UnsupportedImageError` when it is not one scalar volume, `GeometryError` when its place in space is
    unclear.
    """
    if not path.is_file():
        raise UnreadableImageError(f"{path} does not exist: check the name.")
    if path.stat().st_size == 0:
        raise UnreadableImageError(f"{path} is empty (0 bytes): copy it again.")
    no_numbers = check_nifti(path) if path.name.lower().endswith(NIFTI_SUFFIXES) else None
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        _check_header(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        raise _explained(path, str(error)) from error
    array = _kept(sitk.GetArrayViewFromImage(image), path)
    if no_numbers is not None:
        array[no_numbers.reshape(array.shape)] = np.nan
    return ReadImage(array, grid_of(image, path))


def write_image(path: str | Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` `(Z, Y, X)` in the format of the suffix, compressed; read it back; then rename it.

    Raises `OutputError` for an unknown format or a place that cannot be written, `DiskSpaceError` for a full
    disk, `GeometryError` for an array that is not on the grid. Nothing is left behind then.
    """
    path = Path(path)
    if not path.name.lower().endswith(WRITABLE):
        raise OutputError(f"{path} has no known image suffix: use one of {', '.join(WRITABLE)}.")
    image = to_image(array, geometry)
    with replacing(path) as temporary:
        write_verified(image, temporary, path)


def to_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """The SimpleITK image of `array` `(Z, Y, X)`; bool becomes uint8, float16 float32."""
    if array.shape != geometry.shape:
        raise GeometryError(f"An array of shape {array.shape} is not on a grid of shape {geometry.shape}.")
    widened = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}.get(array.dtype, array.dtype)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=widened), isVector=False)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def write_verified(image: sitk.Image, temporary: Path, path: Path) -> None:
    """Write `image` to `temporary` and read it back; the messages name `path`, which it will become."""
    check_for_itk(temporary, OutputError)
    try:
        sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=_GZIP_LEVEL)
        written = sitk.ReadImage(str(temporary))
    except RuntimeError as error:
        raise _unwritten(path, f"could not be written ({reason(error)})") from error
    # ITK's writers do not all notice a full disk, and NIfTI rounds: only reading back tells.
    before, after = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(written)
    if not np.array_equal(before, after, equal_nan=True):
        raise _unwritten(path, "was not written completely")
    if not Geometry.from_image(written).close_to(Geometry.from_image(image)):
        raise OutputError(f"{path} cannot keep this image's place in space: use .nrrd.")


def _unwritten(path: Path, what: str) -> OutputError | DiskSpaceError:
    """ITK does not say why a file could not be written, but a full disk can be seen."""
    if shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES:
        return DiskSpaceError(f"The disk is full: {path} was not written. Free some space.")
    return OutputError(f"{path} {what}: check the disk's free space.")


def grid_of(image: sitk.Image, path: Path) -> Geometry:
    """The grid of an image; errors name the file."""
    try:
        return Geometry.from_image(image)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error


def kept_type(dtype: np.dtype) -> np.dtype:
    """The type that voxels of a type are kept in: small integers as they are, which takes less memory."""
    return dtype if dtype in (np.uint8, np.int16) else np.dtype(np.float32)


def _kept(array: np.ndarray, path: Path) -> np.ndarray:
    """A copy of the type that is kept; refused where that would turn a number into infinity."""
    largest = np.finfo(np.float32).max
    if array.dtype == np.float64:
        finite = np.abs(array, where=np.isfinite(array), out=np.zeros(array.shape))
        if finite.max() > largest:
            raise UnsupportedImageError(
                f"{path} has the voxel value {finite.max():.3g}, no intensity: rescale it."
            )
    return array.astype(kept_type(array.dtype))


def _check_header(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse everything but one scalar volume, before its voxels are read."""
    size, spacing = reader.GetSize(), reader.GetSpacing()
    if reader.GetPixelIDValue() in _COMPLEX:
        raise UnsupportedImageError(f"{path} has complex voxels: export its magnitude.")
    if reader.GetDimension() < 3 or min(size) < 2:
        raise UnsupportedImageError(
            f"{path} is a flat image of {' x '.join(map(str, size))} voxels: give a volume (for DICOM, the "
            "folder)."
        )
    if reader.HasMetaDataKey(_SOP_CLASS) and size[2] > 1:
        raise frames_refused(path, size[2])
    if reader.GetDimension() > 3:
        raise UnsupportedImageError(f"{path} is a series of {size[3]} volumes: extract one of them first.")
    if reader.GetNumberOfComponents() > 1:
        raise UnsupportedImageError(
            f"{path} has {reader.GetNumberOfComponents()} values per voxel (colour or vectors): export a "
            "scalar image."
        )
    if not all(np.isfinite(s) and s > 0 for s in spacing):
        raise UnsupportedImageError(
            f"{path} has the impossible spacing {shown(spacing)} mm: correct its header."
        )
    if path.suffix.lower() in {".nrrd", ".nhdr"}:
        space = reader.GetMetaData("NRRD_space") if reader.HasMetaDataKey("NRRD_space") else ""
        if space not in _PATIENT_SPACES:
            raise GeometryError(
                f'{path} does not say where left and right are (its "space" is "{space}"): convert it anew.'
            )
        directions = _nrrd_field(path, "space directions")
        if directions.count("(") != 3:
            raise GeometryError(
                f'{path} does not say where its axes point to (its "space directions" are "{directions}"): '
                "convert it anew."
            )


def _nrrd_field(path: Path, name: str) -> str:
    """What the header of a NRRD file says in a field; "" without it. ITK makes up what is missing."""
    with path.open("rb") as file:
        while (line := file.readline(_LONGEST_LINE).strip()) and file.tell() < _LONGEST_HEADER:
            key, _, value = line.decode(errors="replace").partition(":")
            if key.strip().casefold() == name and not value.startswith("="):
                return value.strip()
    return ""


def frames_refused(path: Path, frames: int) -> UnsupportedImageError:
    """The error for multi-frame DICOM: ITK takes the frames for ascending slices, wherever they lie."""
    return UnsupportedImageError(
        f"{path} is a DICOM file of {frames} frames: convert it with dcm2niix, or load it in Slicer and save "
        "it as NRRD."
    )


def _explained(path: Path, message: str) -> InputError:
    if "orthonormal" in message or "Bad direction" in message:
        return GeometryError(
            f"{path} is on a sheared or degenerate grid, its axes are not perpendicular: resample it onto a "
            "regular grid first."
        )
    return UnreadableImageError(
        f"{path} is truncated, damaged or no image ({reason(message)}): copy it again."
    )


def reason(error: object) -> str:
    """The sentence that matters of ITK's long messages, without addresses in memory."""
    lines = [line.strip() for line in str(error).splitlines()]
    # "Reason:" is what the operating system said last, often about something else.
    told = [line for line in lines if line and not line.startswith("Reason:")]
    return re.sub(r"^(sitk::ERROR: |ITK ERROR: \w+\(0x\w+\): )", "", told[-1]).rstrip(".")
