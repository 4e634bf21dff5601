"""The checked header of an image file: the place of its voxels in space and in files, and the doubts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UnsupportedImageError
from ..geometry import Geometry, shown
from .stored_voxels import StoredVoxels

# Bounds of an image of a patient, or of a part of one; outside of them the unit was hardly mm.
LEAST_EXTENT_MM, LARGEST_EXTENT_MM = 10.0, 3000.0


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """Everything but the voxels.

    Attributes:
        geometry: the grid of the voxels.
        voxels: their place in files.
        slope, intercept: value = slope * voxel + intercept.
        warnings: sentences about everything doubtful.
    """

    geometry: Geometry
    voxels: StoredVoxels
    slope: float = 1.0
    intercept: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageFormat:
    """A format of image files; `readable.FORMATS` lists them all.

    Attributes:
        name: for messages.
        suffixes: of its files, in lower case.
        read_header: reads and checks the header of one file.
        unlisted: suffixes that are read too, but that other programs use for other files: a batch skips them.
        beginnings: first bytes of its files that `foreign_files` knows.
        detached: a header of this format may name other files, which hold the voxels.
    """

    name: str
    suffixes: tuple[str, ...]
    read_header: Callable[[Path], ImageHeader]
    unlisted: tuple[str, ...] = ()
    beginnings: tuple[bytes, ...] = ()
    detached: bool = False


def three_axes(path: Path, size: Sequence[int], components: int = 1) -> tuple[int, int, int]:
    """The size (i, j, k) of a scalar volume; further axes may have one voxel each.

    Raises `UnsupportedImageError` for anything else.
    """
    kept = [*size]
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    if components > 1:
        raise UnsupportedImageError(
            f"{path} has {components} values per voxel (colour or vectors): export a scalar image."
        )
    if len(kept) < 3:
        refuse_flat(path, kept)
    if len(kept) > 3:
        raise UnsupportedImageError(
            f"{path} is a series of {math.prod(kept[3:])} volumes: extract one of them first."
        )
    return kept[0], kept[1], kept[2]


def refuse_flat(path: Path, size: Sequence[int]) -> None:
    """Raise `UnsupportedImageError` for fewer than three axes with more than one voxel."""
    if len(size) < 3 or min(size) < 2:
        raise UnsupportedImageError(
            f"{path} is a flat image of {' x '.join(map(str, size))} voxels: give a volume (for DICOM, the "
            "folder)."
        )


def check_spacing(path: Path, spacing: Sequence[float]) -> None:
    """Raise `UnsupportedImageError` for a spacing in mm that is not finite and greater than 0."""
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise UnsupportedImageError(
            f"{path} has the impossible spacing {shown(spacing)} mm: correct its header."
        )


def unit_warning(path: Path, geometry: Geometry) -> str:
    """A warning if an image without a unit, taken to be in mm, has an unlikely extent; else ""."""
    extent = [n * s for n, s in zip(geometry.size, geometry.spacing, strict=True)]
    if LEAST_EXTENT_MM <= max(extent) <= LARGEST_EXTENT_MM:
        return ""
    return (
        f"{path.name} does not say the unit of its spacing {shown(geometry.spacing)}; with mm, the image is "
        f"{' x '.join(f'{side:.4g}' for side in extent)} mm large: check it."
    )
