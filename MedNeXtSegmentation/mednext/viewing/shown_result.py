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
from ..segmentation.formats.seg_nrrd import segment_words

__all__ = ["ShownResult", "ShownSegment", "check_same_place", "read_result"]

_MOST_LABELS = 4096
_GOLDEN_ANGLE = 0.381966  # neighbouring label values get hues far apart


@dataclass(frozen=True)
class ShownSegment:
    """One segment.

    Attributes:
        value: its label value.
        color: red, green and blue, 0 to 255.
        volume_ml: in mL; 0.0 where the structure was not found.
        centre_ras: a voxel of the segment, the nearest to its centre of mass (mm, RAS); None without voxels.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    volume_ml: float
    centre_ras: tuple[float, float, float] | None


@dataclass(frozen=True, eq=False)
class ShownResult:
    """`labelmap` `(Z, Y, X)`, uint8 or uint16, on `geometry`, and its segments in their order."""

    labelmap: np.ndarray
    geometry: Geometry
    segments: tuple[ShownSegment, ...]


def read_result(path: Path) -> ShownResult:
    """Read a segmentation: `.seg.nrrd`, or an image of label values (NIfTI, NRRD, MetaImage).

    Raises:
        UnsupportedImageError: the file holds no label values, or overlapping segments in several layers.
        UnreadableImageError, GeometryError: as `read_image`.
    """
    words = segment_words(path) if path.name.lower().endswith(".seg.nrrd") else {}
    if any(value.strip() not in {"", "0"} for key, value in words.items() if key.endswith("_Layer")):
        raise UnsupportedImageError(
            f"{path} has segments that overlap, in several layers. Open it in Slicer, or write the result of "
            "mednext as a label map (.nii.gz)."
        )
    read = read_image(path)  # the checks of images say nothing about label values
    labelmap = _label_values(read.array, path)
    described = _described(words)
    counts = np.bincount(labelmap.ravel())
    found = [int(value) for value in np.flatnonzero(counts) if value]
    for value in found:
        described.setdefault(value, (f"Label {value}", _color(value)))
    segments = []
    for value, (name, color) in sorted(described.items()):
        count = int(counts[value]) if value < len(counts) else 0
        ml = count * read.geometry.voxel_volume_ml
        centre = _centre_ras(labelmap, value, read.geometry) if count else None
        segments.append(ShownSegment(value, name, color, ml, centre))
    return ShownResult(labelmap, read.geometry, tuple(segments))


def check_same_place(image: Geometry, result: ShownResult, names: Sequence[str]) -> None:
    """Raise `GeometryError` where image and result have no place in common."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in result.geometry.size])).reshape(3, -1)
    world = result.geometry.ijk_to_ras @ np.vstack([corners, np.ones(8)])
    inside = np.linalg.inv(image.ijk_to_ras) @ world
    low, high = inside[:3].min(axis=1), inside[:3].max(axis=1)
    if (high < -0.5).any() or (low > np.array(image.size) - 0.5).any():
        raise GeometryError(f"{names[1]} lies beside {names[0]}: give the image that it was made of.")


def _label_values(array: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(array).all() or (array < 0).any() or (array != np.round(array)).any():
        raise UnsupportedImageError(f"{path} is no image of label values: give the result of a segmentation.")
    if array.max(initial=0) > _MOST_LABELS:
        raise UnsupportedImageError(
            f"{path} has the value {array.max():g}, and label values end at {_MOST_LABELS}: give the "
            "result of a segmentation, not the image."
        )
    return array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)


def _described(words: dict[str, str]) -> dict[int, tuple[str, tuple[int, int, int]]]:
    """Name and colour of each label value in the header of a `.seg.nrrd`."""
    described = {}
    for key, text in words.items():
        prefix, _, field = key.partition("_")
        if field == "LabelValue" and text.strip().isdigit():
            value = int(text)
            name = words.get(f"{prefix}_Name", f"Label {value}")
            described[value] = (name, _stored_color(words.get(f"{prefix}_Color", "")) or _color(value))
    return described


def _stored_color(text: str) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (round(255 * min(max(float(word), 0.0), 1.0)) for word in text.split())
    except ValueError:
        return None
    return red, green, blue


def _color(value: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN_ANGLE % 1, 0.7, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _centre_ras(labelmap: np.ndarray, value: int, geometry: Geometry) -> tuple[float, float, float]:
    """The centre (mm, RAS) of the voxel of a segment that lies nearest to its centre of mass."""
    voxels = np.argwhere(labelmap == value)
    nearest = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    x, y, z = (geometry.ijk_to_ras @ [*nearest[::-1], 1.0])[:3]
    return float(x), float(y), float(z)
