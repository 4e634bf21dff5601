"""A result file as a viewer needs it: label values on a grid, with names, colours and volumes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import GeometryError, UnsupportedImageError
from ..images.formats.image_files import read_image
from ..images.geometry import Geometry
from ..segmentation.formats.seg_nrrd import read_layers, segment_words
from .dicom_seg import is_dicom, read_dicom_seg
from .label_table import table_beside
from .overlapping import combined

__all__ = ["ShownResult", "ShownSegment", "check_same_place", "read_result"]

_MOST_LABELS = 4096
_GOLDEN_ANGLE = 0.381966  # neighbouring label values get hues far apart


@dataclass(frozen=True)
class ShownSegment:
    """One segment.

    Attributes:
        value: its label value, or its number in a DICOM SEG.
        color: red, green and blue, 0 to 255.
        volume_ml: in mL; 0.0 where the structure was not found.
        centre_ras: a voxel of the segment, the nearest to its centre of mass (mm, RAS); None without voxels.
        values: those of its voxels in the labelmap: several where other segments overlap it.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    volume_ml: float
    centre_ras: tuple[float, float, float] | None
    values: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ShownResult:
    """`labelmap` `(Z, Y, X)`, uint8 or uint16, on `geometry`, and its segments in their order."""

    labelmap: np.ndarray
    geometry: Geometry
    segments: tuple[ShownSegment, ...]


def read_result(path: Path) -> ShownResult:
    """Read a segmentation: `.seg.nrrd`, DICOM SEG, or an image of label values (NIfTI, NRRD, MetaImage).

    Names and colours of an image of label values come from the table that Slicer's and this module's exports
    write beside it.

    Raises:
        UnsupportedImageError: the file holds no segmentation.
        MissingPackageError: a DICOM SEG, without highdicom.
        UnreadableImageError, GeometryError: as `read_image`.
    """
    if is_dicom(path):
        labelmap, geometry, found = read_dicom_seg(path)
        listed = [(number, name, color or _color(number), values) for (number, name, color), values in found]
        return _shown(labelmap, geometry, listed)
    words = segment_words(path) if path.name.lower().endswith(".seg.nrrd") else {}
    stored = _described(words, path)
    if any(layer for _, layer, _, _ in stored):
        return _in_layers(path, stored)
    read = read_image(path)  # the checks of images say nothing about label values
    labelmap = _label_values(read.array, path)
    described = {value: (name, color) for value, _, name, color in stored} or table_beside(path)
    for value in np.unique(labelmap[labelmap > 0]):
        described.setdefault(int(value), (f"Label {value}", None))
    labels = [
        (value, name, color or _color(value), (value,)) for value, (name, color) in sorted(described.items())
    ]
    return _shown(labelmap, read.geometry, labels)


def _in_layers(path: Path, stored: Sequence[_Stored]) -> ShownResult:
    """The segments of a `.seg.nrrd` of which some overlap, each in a layer."""
    layers, geometry = read_layers(path)
    if len(layers) <= max(layer for _, layer, _, _ in stored):
        raise UnsupportedImageError(f"{path} names more layers than it has: save it again in Slicer.")
    masks = (layers[layer] == value for value, layer, _, _ in stored)
    labelmap, values = combined(masks, layers[0].shape)
    values += [()] * (len(stored) - len(values))
    listed = [
        (value, name, color or _color(number), own)
        for number, ((value, _, name, color), own) in enumerate(zip(stored, values, strict=True), start=1)
    ]
    return _shown(labelmap, geometry, listed)


def _shown(
    labelmap: np.ndarray,
    geometry: Geometry,
    listed: Sequence[tuple[int, str, tuple[int, int, int], tuple[int, ...]]],
) -> ShownResult:
    """The result with these segments: value, name, colour and values in the labelmap of each."""
    counts = np.bincount(labelmap.ravel(), minlength=_MOST_LABELS + 1)
    segments = []
    for value, name, color, values in listed:
        there = [each for each in values if 0 <= each < len(counts) and counts[each]]
        ml = int(counts[there].sum()) * geometry.voxel_volume_ml
        centre = _centre_ras(np.isin(labelmap, there), geometry) if there else None
        segments.append(ShownSegment(value, name, color, ml, centre, values))
    return ShownResult(labelmap, geometry, tuple(segments))


def check_same_place(image: Geometry, result: ShownResult, names: Sequence[str]) -> None:
    """Raise `GeometryError` where image and result have no place in common, or a segment leaves the image."""
    to_image = np.linalg.inv(image.ijk_to_ras) @ result.geometry.ijk_to_ras
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in result.geometry.size])).reshape(3, -1)
    low, high = _extent(to_image, corners)
    if (high < -0.5).any() or (low > np.array(image.size) - 0.5).any():
        raise GeometryError(f"{names[1]} lies beside {names[0]}: give the image that it was made of.")
    low, high = _extent(to_image, _row_ends(result.labelmap > 0))
    if (low < -1).any() or (high > np.array(image.size)).any():  # one voxel of tolerance
        raise GeometryError(
            f"Segments of {names[1]} reach beyond {names[0]}, where they could not be drawn: give the image "
            "that it was made of, or none."
        )


def _extent(matrix: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest index along each axis of places `(3, n)`; inf and -inf without places."""
    there = (matrix @ np.vstack([places, np.ones(places.shape[1])]))[:3]
    return there.min(axis=1, initial=np.inf), there.max(axis=1, initial=-np.inf)


def _row_ends(mask: np.ndarray) -> np.ndarray:
    """The indices `(3, n)`, x first, of the first and the last voxel in each row."""
    z, y = np.nonzero(mask.any(axis=2))
    rows = mask[z, y]
    ends = (rows.argmax(axis=1), mask.shape[2] - 1 - rows[:, ::-1].argmax(axis=1))
    return np.hstack([(x, y, z) for x in ends])


def _label_values(array: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(array).all() or (array < 0).any() or (array != np.round(array)).any():
        raise UnsupportedImageError(f"{path} is no image of label values: give the result of a segmentation.")
    if array.max(initial=0) > _MOST_LABELS:
        raise UnsupportedImageError(
            f"{path} has the value {array.max():g}, and label values end at {_MOST_LABELS}: give the "
            "result of a segmentation, not the image."
        )
    return array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)


_Stored = tuple[int, int, str, "tuple[int, int, int] | None"]  # value, layer, name, colour


def _described(words: dict[str, str], path: Path) -> list[_Stored]:
    """The segments in the header of a `.seg.nrrd`."""
    described = []
    for key, text in words.items():
        prefix, _, field = key.partition("_")
        if field == "LabelValue":
            value = _number(text, path)
            layer = _number(words.get(f"{prefix}_Layer") or "0", path)
            name = words.get(f"{prefix}_Name", f"Label {value}")
            described.append((value, layer, name, _stored_color(words.get(f"{prefix}_Color", ""))))
    return described


def _number(text: str, path: Path) -> int:
    """A label value or a layer in a header."""
    word = text.strip()
    if not (word.isascii() and word.isdecimal() and len(word) < 10 and int(word) <= _MOST_LABELS):
        raise UnsupportedImageError(
            f"{path} has the label value or layer {word[:20]!r}, and these end at {_MOST_LABELS}: save it "
            "again in Slicer."
        )
    return int(word)


def _stored_color(text: str) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (round(255 * min(max(float(word), 0.0), 1.0)) for word in text.split())
    except ValueError:
        return None
    return red, green, blue


def _color(value: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN_ANGLE % 1, 0.7, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _centre_ras(mask: np.ndarray, geometry: Geometry) -> tuple[float, float, float]:
    """The centre (mm, RAS) of the voxel of a segment that lies nearest to its centre of mass."""
    voxels = np.argwhere(mask)
    nearest = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    x, y, z = (geometry.ijk_to_ras @ [*nearest[::-1], 1.0])[:3]
    return float(x), float(y), float(z)
