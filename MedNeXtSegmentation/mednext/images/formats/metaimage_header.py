"""Read the header of a MetaImage file, whose voxels follow it or lie in files of their own.

Source: MetaIO's documentation and metaImage.cxx. Fields that concern neither the voxels nor their place are
skipped.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import GeometryError, InputError, UnreadableImageError, UnsupportedImageError
from ..geometry import LPS_TO_RAS, Geometry
from .data_files import data_files, numbered
from .header_values import impossible, needed, numbers, sizes_of, whole_numbers
from .image_header import ImageFormat, ImageHeader, check_spacing, three_axes, unit_warning
from .stored_voxels import DEFLATED, RAW, TEXT, StoredVoxels

SUFFIXES = (".mha", ".mhd")

_LONGEST_LINE, _LONGEST_HEADER = 2**16, 2**24
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_SAME = {  # a field, and its other names
    "TransformMatrix": ("Orientation", "Rotation"),
    "Offset": ("Position", "Origin"),
    "BinaryDataByteOrderMSB": ("ElementByteOrderMSB",),
}
_READ = {
    *_SAME,
    "ObjectType",
    "NDims",
    "DimSize",
    "ElementType",
    "ElementNumberOfChannels",
    "ElementSpacing",
    "ElementSize",
    "DistanceUnits",
    "AnatomicalOrientation",
    "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset",
    "BinaryData",
    "CompressedData",
    "HeaderSize",
}
_FIRST_NAMES = {other: first for first, others in _SAME.items() for other in others}
_MM = {"um": 0.001, "mm": 1.0, "cm": 10.0}
_UNKNOWN = {"", "?", "???"}
_FROM = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}  # MetaIO names where an axis comes from


def meta_header(path: Path) -> ImageHeader:
    """Read and check a header.

    Raises `UnreadableImageError` for a damaged file, `UnsupportedImageError` for voxels that are not a scalar
    volume and for an impossible spacing or unit, `GeometryError` for a place that the header does not give.
    """
    fields, names, end = meta_fields(path)
    if fields.get("ObjectType", "Image").casefold() != "image":
        raise UnsupportedImageError(
            f'{path} is a MetaIO file of "{fields["ObjectType"][:40]}": give an image.'
        )
    sizes = sizes_of(path, needed(fields, "NDims", path), needed(fields, "DimSize", path))
    channels = whole_numbers(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"))
    size = three_axes(path, sizes, channels[0])
    warnings: list[str] = []
    geometry = _geometry(fields, size, len(sizes), path, warnings)
    slope, intercept = _scale(fields, path, warnings)
    voxels = _voxels(fields, names, end, geometry, path, warnings)
    return ImageHeader(geometry, voxels, slope, intercept, tuple(filter(None, warnings)))


def meta_fields(path: Path) -> tuple[dict[str, str], list[str], int]:
    """The fields by their names, the lines after them if these list the files of voxels, and the byte where
    the header ends. Raises `UnreadableImageError` for a file without such a header."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(_LONGEST_LINE)
            if line.isspace():
                continue
            match = re.fullmatch(r"\s*([A-Za-z]\w*)\s*[=:]([^\0]*)", line.decode(errors="replace"))
            if not match or len(line) == _LONGEST_LINE or file.tell() > _LONGEST_HEADER:
                raise UnreadableImageError(
                    f'{path} has no MetaImage header up to "ElementDataFile": it is damaged or no image, '
                    "copy it again."
                )
            name, value = _FIRST_NAMES.get(match[1], match[1]), match[2].strip()
            if name in _READ and fields.get(name, value).split() != value.split():
                raise UnreadableImageError(f'{path} says "{name}" twice and differently: correct its header.')
            fields[name] = value
        end, listed = file.tell(), fields["ElementDataFile"].split()[:1] == ["LIST"]
        rest = file.read(_LONGEST_HEADER).decode(errors="replace").splitlines() if listed else []
    return fields, [line.strip() for line in rest if line.strip()], end


def _geometry(
    fields: dict[str, str], size: tuple[int, int, int], count: int, path: Path, warnings: list[str]
) -> Geometry:
    for name in ("TransformMatrix", "Offset"):
        if name not in fields:
            raise GeometryError(f'{path} does not say where it lies (it has no "{name}"): convert it anew.')
    unit = fields.get("DistanceUnits", "")
    if unit not in _UNKNOWN and unit not in _MM:
        raise UnsupportedImageError(
            f'{path} has its lengths in "{unit[:40]}" (DistanceUnits): convert it to mm.'
        )
    mm = _MM.get(unit, 1.0)
    # MetaIO writes the direction of one axis after the other: rows where ITK has columns.
    matrix = np.reshape(numbers(path, "TransformMatrix", fields["TransformMatrix"], count**2), (count, count))
    offset = numbers(path, "Offset", fields["Offset"], count)[:3]
    direction = matrix[:3, :3].T
    lengths = np.linalg.norm(direction, axis=0)
    if not np.allclose(lengths, 1, atol=0.01):
        raise GeometryError(
            f"{path} has axes whose directions are no unit vectors (TransformMatrix), a sheared or "
            "degenerate grid: resample it onto a regular grid first."
        )
    spacing = [length * mm for length in _spacing(fields, count, path, warnings)[:3]]
    check_spacing(path, spacing)
    affine = np.eye(4)
    affine[:3, :3] = direction / lengths * spacing
    affine[:3, 3] = np.multiply(offset, mm)
    try:
        geometry = Geometry.from_ijk_to_ras(LPS_TO_RAS @ affine, size)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    warnings.append("" if unit in _MM else unit_warning(path, geometry))
    warnings.append(_contradiction(fields, geometry, path))
    return geometry


def _spacing(fields: dict[str, str], count: int, path: Path, warnings: list[str]) -> list[float]:
    if "ElementSpacing" in fields:
        return numbers(path, "ElementSpacing", fields["ElementSpacing"], count)
    if "ElementSize" not in fields:
        raise UnsupportedImageError(
            f'{path} does not say its spacing (it has no "ElementSpacing"): correct its header.'
        )
    warnings.append(f"{path.name} has no ElementSpacing: its ElementSize was taken, as MetaIO does.")
    return numbers(path, "ElementSize", fields["ElementSize"], count)


def _contradiction(fields: dict[str, str], geometry: Geometry, path: Path) -> str:
    """A warning if AnatomicalOrientation contradicts the matrix, else ""."""
    code = fields.get("AnatomicalOrientation", "").upper()
    by_matrix = "".join(_FROM[letter] for letter in geometry.orientation)
    if code in _UNKNOWN or code == by_matrix:
        return ""
    return (
        f"{path.name} contradicts itself: its AnatomicalOrientation is {code[:20]}, but {by_matrix} by its "
        "TransformMatrix, which was taken. Check left and right."
    )


def _scale(fields: dict[str, str], path: Path, warnings: list[str]) -> tuple[float, float]:
    slope, intercept = (
        numbers(path, name, fields.get(name, default), 1)[0]
        for name, default in (
            ("ElementToIntensityFunctionSlope", "1"),
            ("ElementToIntensityFunctionOffset", "0"),
        )
    )
    if (slope, intercept) != (1, 0):
        warnings.append(
            f"The voxels of {path.name} were scaled by {slope:g} and {intercept:g} was added, as its header "
            "says (ElementToIntensityFunction); other programs may not."
        )
    return slope, intercept


def _voxels(
    fields: dict[str, str], names: list[str], end: int, geometry: Geometry, path: Path, warnings: list[str]
) -> StoredVoxels:
    kind = needed(fields, "ElementType", path)
    if kind not in _TYPES:
        raise UnsupportedImageError(
            f'{path} has voxels of the type "{kind[:40]}": save it with whole numbers or float.'
        )
    binary, packed = _flag(fields, "BinaryData", True, path), _flag(fields, "CompressedData", False, path)
    if packed and not binary:
        raise impossible(path, "CompressedData", "True, BinaryData False")
    dtype = np.dtype(_TYPES[kind])
    if binary and dtype.itemsize > 1 and "BinaryDataByteOrderMSB" not in fields:
        warnings.append(
            f"{path.name} does not say the order of its bytes (BinaryDataByteOrderMSB): the usual one was "
            "taken, the least significant byte first."
        )
    big = _flag(fields, "BinaryDataByteOrderMSB", False, path)
    skip = whole_numbers(path, "HeaderSize", fields.get("HeaderSize", "0"))[0]
    if skip < -1 or (skip == -1 and (packed or not binary)):
        raise impossible(path, "HeaderSize", str(skip))
    files, start = _files(fields["ElementDataFile"], names, end, path)
    return StoredVoxels(
        files,
        dtype.newbyteorder(">" if big else "<"),
        geometry.shape,
        DEFLATED if packed else RAW if binary else TEXT,
        path,
        None if skip < 0 else 0,
        max(start, skip),
    )


def _flag(fields: dict[str, str], name: str, default: bool, path: Path) -> bool:
    text = fields.get(name, str(default))
    if text[:1] not in ("T", "t", "1", "F", "f", "0"):
        raise impossible(path, name, text)
    return text[:1] in ("T", "t", "1")


def _files(name: str, names: list[str], end: int, path: Path) -> tuple[tuple[Path, ...], int]:
    """The files with the voxels, and the byte of each where the header ends."""
    words = name.split()
    if name.casefold() == "local":
        return (path,), end
    if words[:1] == ["LIST"]:
        return data_files(path, names), 0
    if "%" in name and len(words) in (3, 4):
        first, last, *step = whole_numbers(path, "ElementDataFile", " ".join(words[1:]))
        return data_files(path, numbered(path, words[0], first, last, step[0] if step else 1)), 0
    return data_files(path, [name]), 0


METAIMAGE = ImageFormat("MetaImage", SUFFIXES, meta_header, beginnings=(b"ObjectType",), detached=True)
