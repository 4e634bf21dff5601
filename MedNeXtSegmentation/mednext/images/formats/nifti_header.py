"""Read the header of a NIfTI file of version 1, in one file with its voxels.

Source: nifti1.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ...errors import UnreadableImageError, UnsupportedImageError
from ..nifti_forms import NiftiForms
from .image_header import ImageFormat, ImageHeader, check_spacing, three_axes, unit_warning
from .nifti_place import place_of
from .stored_voxels import DEFLATED, RAW, StoredVoxels

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")
TYPES = {  # by datatype code
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
HEADER_BYTES, DATA_START = 348, 352  # four bytes between them tell of extensions

_GZIP = b"\x1f\x8b"
_COMPLEX, _COLOURS = {32, 1792, 2048}, {128: 3, 2304: 4}
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the code of the unit of length; most programs leave 0
_FIELDS = {  # offset and form
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl": (112, "2f"),
    "units": (123, "B"),
    "codes": (252, "2h"),
    "quaternion": (256, "3f"),
    "position": (268, "3f"),
    "sform": (280, "12f"),
}


def nifti_header(path: Path) -> ImageHeader:
    """Read and check a header.

    Raises `UnreadableImageError` for a damaged file, `UnsupportedImageError` for voxels that are not a scalar
    volume and for an impossible spacing, `GeometryError` when left and right are unknown or contradictory.
    """
    fields, order, packed = _fields(path)
    warnings: list[str] = []
    size = _size(fields, path, warnings)
    dtype = np.dtype(order + TYPES[_datatype(fields, path, warnings)])
    forms, unit_known = _forms(fields, path)
    geometry, disagreement = place_of(forms, size, path)
    slope, intercept = _scale(fields, path, warnings)
    warnings += [disagreement, "" if unit_known else unit_warning(path, geometry)]
    voxels = StoredVoxels(
        (path,), dtype, geometry.shape, DEFLATED if packed else RAW, path, _data_start(fields, path)
    )
    return ImageHeader(geometry, voxels, slope, intercept, tuple(filter(None, warnings)))


def nifti_forms(path: Path) -> NiftiForms:
    """The qform and sform of a file. Raises `UnreadableImageError`, `UnsupportedImageError`."""
    return _forms(_fields(path)[0], path)[0]


def _fields(path: Path) -> tuple[dict[str, tuple], str, bool]:
    """The fields by name, the order of bytes, and True if the file is packed."""
    block, packed = _block(path)
    _check_version(block, path)
    order = _byte_order(block, path)
    fields = {name: struct.unpack_from(order + form, block, at) for name, (at, form) in _FIELDS.items()}
    return fields, order, packed


def _block(path: Path) -> tuple[bytes, bool]:
    """The first bytes, and True if they are packed, whatever the file's name says."""
    with path.open("rb") as file:
        block = file.read(HEADER_BYTES)
    if not block.startswith(_GZIP):
        return block, False
    try:
        with gzip.open(path) as file:
            return file.read(HEADER_BYTES), True
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableImageError(f"{path} is damaged ({error}): copy it again.") from error


def _check_version(block: bytes, path: Path) -> None:
    if block[4:7] in (b"n+2", b"ni2"):
        raise UnreadableImageError(f"{path} is NIfTI-2, which is not read: save it as NIfTI-1 or NRRD.")
    if block[344:347] == b"ni1":
        raise UnreadableImageError(
            f"{path} is one of a pair of files (.hdr and .img): save both as one .nii."
        )
    if block.startswith(_GZIP):
        raise UnreadableImageError(f"{path} is packed with gzip twice: unpack it once.")
    if len(block) < HEADER_BYTES or block[344:347] != b"n+1":
        raise UnreadableImageError(
            f"{path} has no NIfTI header, or an Analyze header, which does not say where left is: convert it "
            "anew."
        )


def _byte_order(block: bytes, path: Path) -> str:
    """The byte order in which the number of dimensions is 1 to 7."""
    for order in "<>":
        if 1 <= struct.unpack_from(order + "h", block, 40)[0] <= 7:
            return order
    raise UnreadableImageError(f"{path} says that it has no dimensions: it is damaged, copy it again.")


def _size(fields: dict[str, tuple], path: Path, warnings: list[str]) -> tuple[int, int, int]:
    count, *lengths = fields["dim"]
    lengths = lengths[:count]
    # Some programs write 0 instead of 1 beyond the third dimension; the amount of voxels is checked later.
    if any(n == 0 for n in lengths[3:]):
        warnings.append(f"The header of {path.name} counts 0 volumes; its one volume was read.")
    lengths[3:] = [n or 1 for n in lengths[3:]]
    if min(lengths) < 1:
        raise UnsupportedImageError(f"{path} has the impossible size {tuple(lengths)}: correct its header.")
    vectors = len(lengths) == 5 and lengths[3] == 1
    return three_axes(
        path,
        lengths[:4] if vectors else lengths,
        lengths[4] if vectors else _COLOURS.get(fields["datatype"][0], 1),
    )


def _datatype(fields: dict[str, tuple], path: Path, warnings: list[str]) -> int:
    datatype, bits = fields["datatype"][0], fields["bitpix"][0]
    if datatype in _COMPLEX:
        raise UnsupportedImageError(f"{path} has complex voxels: export its magnitude.")
    if datatype not in TYPES:
        raise UnsupportedImageError(
            f"{path} has voxels of the NIfTI type {datatype}: save it with whole numbers or float32."
        )
    wanted = 8 * np.dtype(TYPES[datatype]).itemsize
    if bits != wanted:
        warnings.append(
            f"The header of {path.name} says that a voxel of type {datatype} has {bits} bits; {wanted} were "
            "read."
        )
    return int(datatype)


def _forms(fields: dict[str, tuple], path: Path) -> tuple[NiftiForms, bool]:
    """Both forms in mm, and True if the header gives its unit."""
    unit = fields["units"][0] & 7
    if unit not in _UNITS_MM:
        raise UnsupportedImageError(
            f"{path} has its lengths in the unknown unit {unit} (xyzt_units): correct its header."
        )
    mm = _UNITS_MM[unit]
    pixdim = fields["pixdim"]
    x, y, z = (float(length) * mm for length in pixdim[1:4])
    check_spacing(path, (x, y, z))
    qform_code, sform_code = fields["codes"]
    quaternion, position = (_used(fields[name], qform_code) for name in ("quaternion", "position"))
    forms = NiftiForms(
        (x, y, z),
        qform_code,
        sform_code,
        (quaternion[0], quaternion[1], quaternion[2]),
        (position[0] * mm, position[1] * mm, position[2] * mm),
        -1 if pixdim[0] < 0 else 1,
        tuple(number * mm for number in _used(fields["sform"], sform_code)),
    )
    return forms, unit != 0


def _used(numbers: tuple[float, ...], code: int) -> tuple[float, ...]:
    """The numbers of a form; 0 for NaN and infinity, which JSON lacks, in a form that is not set."""
    return numbers if code > 0 else tuple(number if math.isfinite(number) else 0.0 for number in numbers)


def _scale(fields: dict[str, tuple], path: Path, warnings: list[str]) -> tuple[float, float]:
    """Slope and intercept. A slope of 0 or NaN means neither, whatever the intercept."""
    slope, intercept = map(float, fields["scl"])
    if slope == 0 or math.isnan(slope):
        if math.isfinite(intercept) and intercept != 0:
            warnings.append(
                f"The header of {path.name} has scl_inter {intercept:g}, but scl_slope {slope:g}, which "
                "means that voxels are not scaled: scl_inter was left out."
            )
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise UnsupportedImageError(
            f"{path} scales its voxels by {slope:g} and adds {intercept:g} (scl_slope, scl_inter): correct "
            "its header."
        )
    return slope, intercept


def _data_start(fields: dict[str, tuple], path: Path) -> int:
    start = fields["vox_offset"][0]
    if not (DATA_START <= start <= 2**31 and start == int(start)):
        raise UnreadableImageError(
            f"{path} has its voxels at byte {start:g}, not at {DATA_START} or later: it is damaged, copy it "
            "again."
        )
    return int(start)


NIFTI = ImageFormat("NIfTI", (".nii", ".nii.gz"), nifti_header, unlisted=(".hdr", ".img", ".img.gz"))
