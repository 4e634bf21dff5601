"""What ITK does not say about a NIfTI file: a spacing of 0, no orientation, a truncated body, NaN.

ITK replaces a spacing of 0, guesses left and right when the header is silent, fills the missing part of a
truncated file with whatever is in memory, and turns NaN and infinite voxels into 0. So header and body are
checked before ITK reads the file.
Source: nifti1.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import GeometryError, UnreadableImageError, UnsupportedImageError
from ..geometry import LPS_TO_RAS, orientation_code, shown

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")

_HEADER_BYTES = 348
_CHUNK = 1 << 22
_SCALE_TOLERANCE = 0.01
_LONGEST_QUATERNION = 1.001  # files round
_TURN_TOLERANCE = math.radians(60)
_FLOATS = {16: "f4", 64: "f8"}  # by datatype code


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 header that say where the voxels are, in space and in the file.

    `dim` and `pixdim` have eight numbers, of which the first of `dim` counts the dimensions; `bits` is per
    voxel; `float_type` is numpy's name for it where it has NaN; `data_start` is in bytes; `quaternion` is
    (b, c, d), `position` belongs to it; `sform` is 3x4, from index to mm in RAS.
    """

    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    bits: int
    float_type: str | None
    data_start: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    position: tuple[float, ...]
    sform: np.ndarray

    @property
    def spacing(self) -> tuple[float, ...]:
        """The spacing in mm along the axes of space that there are."""
        return self.pixdim[1 : 1 + min(3, self.dim[0])]

    @property
    def qform_direction(self) -> np.ndarray:
        """The 3x3 directions of the axes in RAS, columns, by the quaternion."""
        b, c, d = self.quaternion
        a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        return rotation * (1, 1, -1 if self.pixdim[0] < 0 else 1)


def check_nifti(path: Path) -> np.ndarray | None:
    """Refuse a NIfTI file that ITK would read as something else than what it says.

    Returns where the file has NaN or infinite voxels, which ITK reads as 0: a mask in the order of the file,
    or None for nowhere.

    Raises `UnreadableImageError` for a truncated or damaged file, `UnsupportedImageError` for a spacing that
    cannot be, `GeometryError` when left and right are unknown.
    """
    try:
        with _opened(path) as file:
            header = _parse(file.read(_HEADER_BYTES), path)
            _check_spacing(header, path)
            _check_orientation(header, path)
            return _check_body(file, header, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableImageError(f"{path} is damaged ({error}): copy it again.") from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _parse(block: bytes, path: Path) -> NiftiHeader:
    if block[4:7] in (b"n+2", b"ni2"):
        raise UnreadableImageError(f"{path} is NIfTI-2, which ITK cannot read: save it as NIfTI-1 or NRRD.")
    if block[344:347] == b"ni1":
        raise UnreadableImageError(
            f"{path} is one of a pair of files (.hdr and .img): save both as one .nii."
        )
    if len(block) < _HEADER_BYTES or block[344:347] != b"n+1":
        raise UnreadableImageError(
            f"{path} has no NIfTI header, or an Analyze header, which does not say where left is: convert it "
            "anew."
        )
    # The number of dimensions, 1 to 7, tells the byte order.
    order = "<" if 1 <= struct.unpack_from("<h", block, 40)[0] <= 7 else ">"
    codes = struct.unpack_from(order + "2h", block, 252)
    datatype = struct.unpack_from(order + "h", block, 70)[0]
    data_start = struct.unpack_from(order + "f", block, 108)[0]
    if not _HEADER_BYTES <= data_start <= 2**31:  # ITK would take the byte after the header for less
        raise UnreadableImageError(
            f"{path} has its voxels at byte {data_start:g}: it is damaged, copy it again."
        )
    return NiftiHeader(
        dim=struct.unpack_from(order + "8h", block, 40),
        pixdim=struct.unpack_from(order + "8f", block, 76),
        bits=struct.unpack_from(order + "h", block, 72)[0],
        float_type=order + _FLOATS[datatype] if datatype in _FLOATS else None,
        data_start=int(data_start),
        qform_code=codes[0],
        sform_code=codes[1],
        quaternion=struct.unpack_from(order + "3f", block, 256),
        position=struct.unpack_from(order + "3f", block, 268),
        sform=np.reshape(struct.unpack_from(order + "12f", block, 280), (3, 4)),
    )


def _check_spacing(header: NiftiHeader, path: Path) -> None:
    if not all(math.isfinite(s) and s > 0 for s in header.spacing):
        raise UnsupportedImageError(
            f"{path} has the impossible spacing {shown(header.spacing)} mm: correct its header."
        )


def _check_orientation(header: NiftiHeader, path: Path) -> None:
    """Left and right must be said, and not in two contradicting ways."""
    if header.dim[0] < 3:
        return
    if header.qform_code <= 0 and header.sform_code <= 0:
        raise GeometryError(
            f"{path} does not say where left and right are (qform_code and sform_code are 0): convert it "
            "anew, or set the codes, for example with fslorient, once you are sure of the sides."
        )
    if header.qform_code > 0:
        length = math.hypot(*header.quaternion)
        if not (length <= _LONGEST_QUATERNION and all(map(math.isfinite, header.position))):
            raise GeometryError(
                f"{path} has an impossible qform, the quaternion {shown(header.quaternion)} at "
                f"{shown(header.position)} mm: correct its header."
            )
    if header.sform_code <= 0:
        return
    scales = np.linalg.norm(header.sform[:, :3], axis=0)
    if not np.isfinite(header.sform).all() or scales.min() == 0:
        raise GeometryError(f"{path} has a degenerate sform, {header.sform.tolist()}: correct its header.")
    if header.qform_code > 0:
        # An sform to an atlas may scale and turn a little, and ITK then follows the qform; it may not swap
        # sides.
        ways = header.qform_direction, header.sform[:, :3] / scales
        if (ways[0] * ways[1]).sum(axis=0).min() < math.cos(_TURN_TOLERANCE):
            names = [orientation_code(LPS_TO_RAS[:3, :3] @ way) for way in ways]
            raise GeometryError(
                f"{path} contradicts itself: its axes are {names[0]} by qform and {names[1]} by sform. Set "
                "both to the right one, for example with fslorient."
            )
    elif not np.allclose(scales, header.spacing, rtol=_SCALE_TOLERANCE):
        raise GeometryError(
            f"{path} contradicts itself: its spacing is {shown(header.spacing)} mm by pixdim and "
            f"{shown(scales)} mm by sform. Correct its header."
        )


def _check_body(file: BinaryIO, header: NiftiHeader, path: Path) -> np.ndarray | None:
    """Read to the end, which checks gzip's checksum too; where voxels are no numbers, or None."""
    file.seek(header.data_start)
    left = math.prod(header.dim[1 : 1 + header.dim[0]]) * header.bits // 8
    bad: list[np.ndarray] = []
    while chunk := file.read(_CHUNK):
        voxels = chunk[: max(left, 0)]
        if header.float_type is not None and len(voxels) % (header.bits // 8) == 0:
            bad.append(~np.isfinite(np.frombuffer(voxels, header.float_type)))
        left -= len(chunk)
    if left > 0:
        raise UnreadableImageError(f"{path} is truncated, its last {left} bytes are missing: copy it again.")
    return np.concatenate(bad) if any(part.any() for part in bad) else None
