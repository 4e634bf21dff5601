"""Check the grids of images without a look at their voxels: spacing, overlap, tilt."""

from __future__ import annotations

import numpy as np

from ..errors import GeometryError, UnsupportedImageError
from .geometry import Geometry, shown

MIN_SPACING_MM = 0.01
MAX_SPACING_MM = 100.0
MIN_OVERLAP = 0.25
FULL_OVERLAP = 0.95

_POINTS = 32  # per axis, of the lattice on which an overlap is measured


def check_grid(geometry: Geometry, name: str) -> None:
    """Refuse a grid that no image of a patient has.

    Raises `UnsupportedImageError` for a spacing outside 0.01 to 100 mm and for an axis with one voxel.
    """
    spacing, size = geometry.spacing, geometry.size
    if not all(MIN_SPACING_MM <= s <= MAX_SPACING_MM for s in spacing):
        raise UnsupportedImageError(
            f"{name} has the spacing {shown(spacing)} mm, outside {MIN_SPACING_MM} to "
            f"{MAX_SPACING_MM:g} mm: correct its header."
        )
    if min(size) < 2:
        raise UnsupportedImageError(f"{name} is a flat image of {size} voxels: give a volume.")


def check_overlap(geometry: Geometry, reference: Geometry, name: str, reference_name: str) -> str:
    """A warning if one image covers less than 95 % of another, else "".

    Raises `GeometryError` if it covers less than a quarter.
    """
    covered = overlap(geometry, reference)
    if covered >= FULL_OVERLAP:
        return ""
    sentence = f"{name} covers {covered:.0%} of {reference_name}"
    if covered < MIN_OVERLAP:
        raise GeometryError(
            f"{sentence}, less than {MIN_OVERLAP:.0%}: give images of the same examination, registered to "
            "each other."
        )
    return f"{sentence}; the rest is taken as background."


def overlap(geometry: Geometry, reference: Geometry) -> float:
    """The fraction of the reference inside the other grid, on a lattice of at most 32 points per axis."""
    axes = [np.linspace(0, n - 1, min(n, _POINTS)) for n in reference.size]
    points = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones([len(a) for a in axes])], axis=-1)
    indices = points @ (np.linalg.inv(geometry.affine) @ reference.affine).T
    inside = (indices[..., :3] >= -0.5) & (indices[..., :3] <= np.array(geometry.size) - 0.5)
    return float(inside.all(axis=-1).mean())


def tilt_degrees(geometry: Geometry, reference: Geometry) -> float:
    """The angle between the axes of one grid and the closest axes of another, 0 to about 55 degrees.

    Images in different planes (axial and sagittal) are not tilted, nor are flipped or left-handed ones.
    """
    oriented = geometry.reoriented(reference.orientation)
    axes = [np.reshape(grid.direction, (3, 3)) for grid in (oriented, reference)]
    cosines = np.clip((axes[0] * axes[1]).sum(axis=0), -1, 1)
    return float(np.degrees(np.arccos(cosines)).max())
