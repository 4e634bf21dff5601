"""Warn of voxels that are much larger or smaller than those that a model was trained on."""

from __future__ import annotations

from ..images.geometry import Geometry
from ..model.description import Model

_COARSE = 3.0  # times the model's spacing: beyond it nnU-Net, too, speaks of an anisotropic image
_COARSE_MM = 3.0
_FINE = 0.2


def spacing_warning(geometry: Geometry, model: Model, name: str) -> str:
    """A warning if voxels are much larger or smaller than those of the model, or ""."""
    if model.spacing is None:
        return ""
    own = geometry.reoriented(model.orientation).spacing[::-1]
    axes = range(3) if model.network.dimensions == 3 else (1, 2)  # a 2D model takes slices as they are
    if any(own[axis] > max(_COARSE * model.spacing[axis], _COARSE_MM) for axis in axes):
        return (
            f"The voxels of {name} ({_sides(own)} mm) are coarse compared with the model's "
            f"({_sides(model.spacing)} mm): small structures may be missed."
        )
    if any(own[axis] < _FINE * model.spacing[axis] for axis in axes):
        return (
            f"The voxels of {name} ({_sides(own)} mm) are much finer than the model's "
            f"({_sides(model.spacing)} mm): check the image's spacing."
        )
    return ""


def _sides(spacing: tuple[float, ...]) -> str:
    return " × ".join(f"{side:.3g}" for side in reversed(spacing))
