"""What the transforms above a volume do to it, beside moving it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import slicer
import vtk

_TOLERANCE = 1e-3  # of a length: a thousandth along each axis is three of a volume in mL
_PAIRS = tuple(combinations(range(3), 2))


def deformation_of(volume: slicer.vtkMRMLVolumeNode) -> str:
    """The rest of a sentence that begins with the image's name, or "" for transforms that only move it.

    Networks see the image as it was stored, and its structures are measured so.
    """
    parent = volume.GetParentTransformNode()
    if parent is None:
        return ""
    to_world = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, None, to_world):
        return "is under a transform that bends it"
    axes = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(axes)
    linear = slicer.util.arrayFromVTKMatrix(to_world)[:3, :3]
    moved = linear @ slicer.util.arrayFromVTKMatrix(axes)[:3, :3]
    lengths = np.linalg.norm(moved, axis=0)
    if np.linalg.det(linear) <= 0:
        return "is under a transform that swaps its sides"
    if is_sheared(moved):
        return "is under a transform that shears it"
    if np.abs(lengths - 1).max() > _TOLERANCE:
        sides = " × ".join(f"{length:.3g}" for length in lengths)
        return f"is under a transform that scales it by {sides} ({np.prod(lengths):.3g} times its mL)"
    return ""


def is_sheared(axes: np.ndarray) -> bool:
    """Whether the columns of a 3x3 matrix are not perpendicular to each other."""
    lengths = np.linalg.norm(axes, axis=0)
    return any(abs(axes[:, a] @ axes[:, b]) > _TOLERANCE * lengths[a] * lengths[b] for a, b in _PAIRS)
