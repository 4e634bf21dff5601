"""Deformation of a volume by the transforms above it: bending, mirroring, shear, scale."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import slicer
import vtk

from ..matrices import transform_between

_TOLERANCE = 1e-3  # of a length: a thousandth along each axis changes a volume in mL by three
# The limits of an affine registration; a stronger transform corrects an image, or is wrong.
_MOST_SCALE = 1.2
_MOST_SHEAR = 0.1  # cosine of the angle between two axes
_PAIRS = tuple(combinations(range(3), 2))


def deformation_of(volume: slicer.vtkMRMLVolumeNode) -> tuple[str, bool]:
    """The predicate of a sentence on the image, and whether the deformation exceeds that of registrations.

    ("", False) for transforms that only move it. Networks see, and volumes measure, the image as stored.
    """
    parent = volume.GetParentTransformNode()
    if parent is None:
        return "", False
    to_world = transform_between(parent, None)
    if to_world is None:
        return "is under a transform that bends it", True
    axes = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(axes)
    linear = to_world[:3, :3]
    moved = linear @ slicer.util.arrayFromVTKMatrix(axes)[:3, :3]
    if np.linalg.det(linear) <= 0:
        return "is under a transform that swaps its sides", True
    lengths = np.linalg.norm(moved, axis=0)
    much = is_sheared(moved, _MOST_SHEAR) or bool(max(lengths.max(), 1 / lengths.min()) > _MOST_SCALE)
    if is_sheared(moved):
        return "is under a transform that shears it", much
    if np.abs(lengths - 1).max() > _TOLERANCE:
        sides = " × ".join(f"{length:.3g}" for length in lengths)
        return f"is under a transform that scales it by {sides} ({np.prod(lengths):.3g} times its mL)", much
    return "", False


def is_sheared(axes: np.ndarray, tolerance: float = _TOLERANCE) -> bool:
    """Whether the columns of a 3x3 matrix are not perpendicular to each other; the tolerance is a cosine."""
    lengths = np.linalg.norm(axes, axis=0)
    return any(abs(axes[:, a] @ axes[:, b]) > tolerance * lengths[a] * lengths[b] for a, b in _PAIRS)
