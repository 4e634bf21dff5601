"""Read the header of a NRRD file, whose voxels follow it or lie in files of their own.

Source: Teem's "Definition of NRRD File Format". Fields that concern neither the voxels nor their place are
skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import GeometryError, InputError, UnreadableImageError, UnsupportedImageError
from ..geometry import Geometry
from .data_files import data_files, numbered
from .header_values import impossible, needed, numbers, sizes_of, whole_numbers
from .image_header import ImageFormat, ImageHeader, check_spacing, three_axes, unit_warning
from .stored_voxels import DEFLATED, HEX, RAW, TEXT, StoredVoxels

SUFFIXES = (".nrrd", ".nhdr")

_LONGEST_LINE, _LONGEST_HEADER = 2**20, 2**24
_MAGIC = re.compile(rb"NRRD000\d")
_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_PACKINGS = {
    **dict.fromkeys(("raw",), RAW),
    **dict.fromkeys(("gzip", "gz"), DEFLATED),
    **dict.fromkeys(("txt", "text", "ascii"), TEXT),
    "hex": HEX,
}
_TO_RAS = {  # from the axes of a space of patients
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
}
_MM = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(
        ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre"), 0.001
    ),
    "nm": 1e-6,
}
_KINDS_OF_SPACE = {"space", "domain", "none", "???"}
_SAME = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}  # without white space
_READ = {
    "dimension",
    "type",
    "sizes",
    "encoding",
    "endian",
    "line skip",
    "byte skip",
    "data file",
    "space",
    "space directions",
    "space origin",
    "space units",
    "units",
    "spacings",
}


@dataclass(frozen=True)
class NrrdFields:
    """The lines of a header: fields by their names in small letters, words (`key:=value`), the names that
    follow a list of data files, and the byte where the header ends."""

    fields: dict[str, str]
    words: dict[str, str]
    names: tuple[str, ...]
    end: int


def nrrd_header(path: Path) -> ImageHeader:
    """Read and check a header.

    Raises `UnreadableImageError` for a damaged file, `UnsupportedImageError` for voxels that are not a scalar
    volume and for an impossible spacing or unit, `GeometryError` for a place that the header does not give.
    """
    header = nrrd_fields(path)
    fields = header.fields
    sizes = sizes_of(path, needed(fields, "dimension", path), needed(fields, "sizes", path))
    if len(sizes) < 3:
        three_axes(path, sizes)  # refused
    kept, affine, unit_known = _place(fields, sizes, path)
    size = three_axes(path, [sizes[axis] for axis in kept], _components(sizes, kept))
    check_spacing(path, np.linalg.norm(affine[:3, :3], axis=0))
    try:
        geometry = Geometry.from_ijk_to_ras(affine, size)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    warning = "" if unit_known else unit_warning(path, geometry)
    return ImageHeader(geometry, _voxels(header, geometry, path), warnings=(warning,) if warning else ())


def nrrd_fields(path: Path) -> NrrdFields:
    """The lines of a header. Raises `UnreadableImageError` for a missing or damaged header."""
    fields: dict[str, str] = {}
    words: dict[str, str] = {}
    names: tuple[str, ...] = ()
    with path.open("rb") as file:
        if not _MAGIC.match(file.readline(_LONGEST_LINE)):
            raise UnreadableImageError(
                f"{path} has no NRRD header: it is damaged or no image, copy it again."
            )
        for line in _lines(file, path):
            if line.startswith("#"):
                continue
            key, colon, value = line.partition(":")
            if not colon:
                raise UnreadableImageError(f"{path} has the odd header line {line[:60]!r}: copy it again.")
            if value.startswith("="):
                words[key] = re.sub(r"\\(.)", lambda mark: {"n": "\n"}.get(mark[1], mark[1]), value[1:])
                continue
            name = " ".join(key.casefold().split())
            name = _SAME.get(name, name)
            value = value.strip()
            if fields.get(name, value) != value and name in _READ:
                raise UnreadableImageError(f'{path} says "{name}" twice and differently: correct its header.')
            fields[name] = value
            if name == "data file" and value.split()[:1] == ["LIST"]:
                names = tuple(_lines(file, path))
                break
        return NrrdFields(fields, words, names, file.tell())


def _lines(file: BinaryIO, path: Path) -> Iterable[str]:
    """The lines to the empty one or to the end of the file."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE or file.tell() > _LONGEST_HEADER:
            raise UnreadableImageError(f"{path} has an endless header: it is damaged, copy it again.")
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            return
        yield text


def _place(fields: dict[str, str], sizes: list[int], path: Path) -> tuple[list[int], np.ndarray, bool]:
    """The axes in space, the 4x4 matrix from their indices to mm in RAS, and True if the unit is given."""
    space = fields.get("space", "")
    if space.casefold() not in _TO_RAS:
        raise GeometryError(
            f'{path} does not say where left and right are (its "space" is "{space[:60]}"): convert it anew.'
        )
    text = fields.get("space directions", "")
    vectors = re.findall(r"\([^()]*\)|[^\s()]+", text)
    kept = [axis for axis, vector in enumerate(vectors) if vector != "none"]
    if len(vectors) != len(sizes) or len(kept) != 3 or any(vectors[axis][0] != "(" for axis in kept):
        raise GeometryError(
            f'{path} does not say where its axes point to (its "space directions" are "{text[:80]}"): '
            "convert it anew."
        )
    kinds = fields.get("kinds", "").casefold().split()
    odd = [kind for axis, kind in enumerate(kinds) if axis in kept and kind not in _KINDS_OF_SPACE]
    if odd and len(kinds) == len(sizes):
        raise GeometryError(
            f'{path} contradicts itself: an axis of the kind "{odd[0][:40]}" has a direction in space. '
            "Correct its header."
        )
    origin = fields.get("space origin", "")
    if not origin or "nan" in origin.casefold():
        raise GeometryError(f'{path} does not say where it lies (it has no "space origin"): convert it anew.')
    for name in ("spacings", "axis mins", "axis maxs", "axismins", "axismaxs"):
        if any(word.casefold() != "nan" for word in fields.get(name, "").split()):
            raise GeometryError(
                f'{path} says its place twice, by "space directions" and "{name}": remove one of them.'
            )
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([_vector(path, "space directions", vectors[axis]) for axis in kept])
    affine[:3, 3] = _vector(path, "space origin", origin)
    units = _units_mm(fields, path)
    scale = np.diag([*np.multiply(_TO_RAS[space.casefold()], units or (1.0, 1.0, 1.0)), 1.0])
    return kept, scale @ affine, units is not None


def _vector(path: Path, field: str, text: str) -> list[float]:
    inner = re.fullmatch(r"\s*\(([^()]*)\)\s*", text)
    if not inner:
        raise impossible(path, field, text)
    return numbers(path, field, inner[1].replace(",", " "), 3)


def _units_mm(fields: dict[str, str], path: Path) -> list[float] | None:
    """The length in mm of the unit of each axis in space; None if the header gives none, which means mm."""
    units = [unit.casefold() for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))]
    for name in ("space units", "units"):
        text = fields.get(name, "")
        unknown = [unit for unit in re.findall(r'"([^"]*)"', text) if unit and unit.casefold() not in _MM]
        if unknown or (name == "space units" and text and (len(units) != 3 or any(units) != all(units))):
            raise UnsupportedImageError(
                f'{path} has lengths in the unknown "{name}" {text[:60]}: convert it to mm.'
            )
    axes = {unit.casefold() for unit in re.findall(r'"([^"]*)"', fields.get("units", ""))} - {""}
    if axes - set(units) - {"mm"}:
        raise UnsupportedImageError(
            f'{path} says "units" {fields["units"][:60]} but not "space units": convert it to mm.'
        )
    return [_MM[unit] for unit in units] if any(units) else None


def _components(sizes: list[int], kept: list[int]) -> int:
    components = 1
    for axis, size in enumerate(sizes):
        components *= 1 if axis in kept else size
    return components


def _voxels(header: NrrdFields, geometry: Geometry, path: Path) -> StoredVoxels:
    fields = header.fields
    kind = " ".join(needed(fields, "type", path).casefold().split())
    if kind not in _DTYPES:
        raise UnsupportedImageError(
            f'{path} has voxels of the type "{kind[:40]}": save it with whole numbers or float.'
        )
    encoding = needed(fields, "encoding", path).casefold()
    if encoding not in _PACKINGS:
        raise UnsupportedImageError(
            f'{path} has the encoding "{encoding[:40]}", which is not read: save it as raw or gzip.'
        )
    dtype, packing = np.dtype(_DTYPES[kind]), _PACKINGS[encoding]
    endian = fields.get("endian", "").casefold()
    if endian not in {"little", "big"} and (endian or (dtype.itemsize > 1 and packing != TEXT)):
        raise UnreadableImageError(
            f'{path} does not say the order of its bytes (its "endian" is "{endian[:40]}"): convert it anew.'
        )
    line_skip, byte_skip = (
        whole_numbers(path, name, fields.get(name, "0"))[0] for name in ("line skip", "byte skip")
    )
    if not 0 <= line_skip < 2**31 or byte_skip < (-1 if packing == RAW else 0):
        raise impossible(path, "byte skip", f"{byte_skip}, line skip {line_skip}")
    files, start = _files(header, path)
    return StoredVoxels(
        files,
        dtype.newbyteorder(">" if endian == "big" else "<"),
        geometry.shape,
        packing,
        path,
        None if byte_skip < 0 else byte_skip,
        start,
        line_skip,
    )


def _files(header: NrrdFields, path: Path) -> tuple[tuple[Path, ...], int]:
    """The files with the voxels, and the byte of each where the header ends."""
    name = header.fields.get("data file")
    if name is None:
        if path.name.lower().endswith(".nhdr"):
            raise UnreadableImageError(f'{path} does not say where its voxels are: it has no "data file".')
        return (path,), header.end
    words = name.split()
    if words[:1] == ["LIST"]:
        return data_files(path, [line.strip() for line in header.names]), 0
    if "%" in name and len(words) in (4, 5):
        first, last, step = whole_numbers(path, "data file", " ".join(words[1:4]))
        return data_files(path, numbered(path, words[0], first, last, step)), 0
    return data_files(path, [name]), 0


NRRD = ImageFormat("NRRD", SUFFIXES, nrrd_header, beginnings=(b"NRRD000",), detached=True)
