"""Choose the grid of a NIfTI image from its qform and its sform; refuse contradictions.

The standard leaves open which of the two to follow if both are set. nibabel, FSL, SPM and FreeSurfer prefer
the sform: registration programs write their result there and leave the scanner's place in the qform. So we
follow the sform, unless it scales or shears towards an atlas, which would change every size and volume: then
we follow the qform. Both are kept for the result.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import GeometryError, InputError
from ..geometry import LPS_TO_RAS, ORTHONORMAL_TOLERANCE, Geometry, orientation_code, shown
from ..nifti_forms import NiftiForms

_SCALE_TOLERANCE = 0.01
_LONGEST_QUATERNION = 1.001  # files round
_TURN_TOLERANCE = math.radians(60)
_ATLAS_CODES = {3, 4, 5}  # Talairach, MNI, another template
_NOTABLE = 0.5  # of a voxel
_SAME = 0.01


def place_of(forms: NiftiForms, size: tuple[int, int, int], path: Path) -> tuple[Geometry, str]:
    """The grid of an image of this size (i, j, k), and a warning if the forms disagree, else "".

    Raises `GeometryError` when neither form is set, one is impossible, or they contradict each other about
    the sides or about the size of the voxels.
    """
    if forms.qform_code <= 0 and forms.sform_code <= 0:
        raise GeometryError(
            f"{path} does not say where left and right are (qform_code and sform_code are 0): convert it "
            "anew, or set the codes, for example with fslorient, once you are sure of the sides."
        )
    if forms.qform_code > 0:
        _check_qform(forms, path)
    if forms.sform_code > 0:
        _check_sform(forms, path)
    if forms.sform_code <= 0:
        return _grid(forms.by_qform, forms, size, path), ""
    if forms.qform_code <= 0:
        _check_scales(forms, path)
        return _grid(forms.by_sform, forms, size, path), ""
    return _of_both(forms, size, path)


def followed_form(forms: NiftiForms, geometry: Geometry) -> str:
    """A sentence about the form that gave `geometry`, if the two forms differ; else ""."""
    apart = _apart(forms, geometry.size)
    if min(forms.qform_code, forms.sform_code) <= 0 or not apart > _NOTABLE * min(geometry.spacing):
        return ""
    ways = {"qform": forms.by_qform, "sform": forms.by_sform}
    followed = [
        name
        for name, way in ways.items()
        if _distance(way - geometry.ijk_to_ras, geometry.size) <= _SAME * min(geometry.spacing)
    ]
    if len(followed) != 1:
        return ""
    return f"The qform and the sform of its file lie up to {apart:.3g} mm apart: its {followed[0]} was taken."


def _of_both(forms: NiftiForms, size: tuple[int, int, int], path: Path) -> tuple[Geometry, str]:
    by_qform = _grid(forms.by_qform, forms, size, path)
    _check_sides(forms, by_qform, path)
    apart = _apart(forms, size)
    notable = apart > _NOTABLE * min(forms.spacing)
    told = f"The qform and the sform of {path.name} lie up to {apart:.3g} mm apart"
    if _is_rigid(forms):
        by_sform = _grid(forms.by_sform, forms, size, path)
        return by_sform, f"{told}: its sform was taken." if notable else ""
    if not notable:
        return by_qform, ""
    if forms.sform_code in _ATLAS_CODES:
        return by_qform, f"{told}: its qform was taken, since its sform deforms it towards an atlas."
    _check_scales(forms, path)
    raise GeometryError(
        f"{path} is sheared by its sform, up to {apart:.3g} mm against its qform: resample it onto a regular "
        "grid first, or set both to the right one."
    )


def _check_qform(forms: NiftiForms, path: Path) -> None:
    length = math.hypot(*forms.quaternion)
    if not (length <= _LONGEST_QUATERNION and all(map(math.isfinite, forms.position))):
        raise GeometryError(
            f"{path} has an impossible qform, the quaternion {shown(forms.quaternion)} at "
            f"{shown(forms.position)} mm: correct its header."
        )


def _check_sform(forms: NiftiForms, path: Path) -> None:
    matrix = forms.by_sform
    if not np.isfinite(matrix).all() or np.linalg.norm(matrix[:3, :3], axis=0).min() == 0:
        raise GeometryError(f"{path} has a degenerate sform, {matrix[:3].tolist()}: correct its header.")


def _check_scales(forms: NiftiForms, path: Path) -> None:
    scales = np.linalg.norm(forms.by_sform[:3, :3], axis=0)
    if not np.allclose(scales, forms.spacing, rtol=_SCALE_TOLERANCE):
        raise GeometryError(
            f"{path} contradicts itself: its spacing is {shown(forms.spacing)} mm by pixdim and "
            f"{shown(scales)} mm by sform. Correct its header."
        )


def _check_sides(forms: NiftiForms, by_qform: Geometry, path: Path) -> None:
    """Refuse forms that swap sides: a registration turns a little only."""
    columns = forms.by_sform[:3, :3]
    ways = forms.by_qform[:3, :3] / forms.spacing, columns / np.linalg.norm(columns, axis=0)
    if (ways[0] * ways[1]).sum(axis=0).min() < math.cos(_TURN_TOLERANCE):
        names = [by_qform.orientation, orientation_code(LPS_TO_RAS[:3, :3] @ ways[1])]
        raise GeometryError(
            f"{path} contradicts itself: its axes are {names[0]} by qform and {names[1]} by sform. Set both "
            "to the right one, for example with fslorient."
        )


def _is_rigid(forms: NiftiForms) -> bool:
    """True if the sform only turns and moves."""
    columns = forms.by_sform[:3, :3]
    scales = np.linalg.norm(columns, axis=0)
    unit = columns / scales
    upright = np.abs(unit.T @ unit - np.eye(3)).max() <= ORTHONORMAL_TOLERANCE
    return bool(upright and np.allclose(scales, forms.spacing, rtol=_SCALE_TOLERANCE))


def _apart(forms: NiftiForms, size: tuple[int, int, int]) -> float:
    """The largest distance in mm between a voxel's places by qform and by sform."""
    return _distance(forms.by_qform - forms.by_sform, size)


def _distance(difference: np.ndarray, size: tuple[int, int, int]) -> float:
    """The largest distance in mm between two grids, at a corner, by the difference of their matrices."""
    corners = np.stack(np.meshgrid(*([0, n - 1] for n in size), indexing="ij"), axis=-1).reshape(8, 3)
    moved = np.c_[corners, np.ones(8)] @ difference.T
    return float(np.linalg.norm(moved, axis=1).max())


def _grid(affine: np.ndarray, forms: NiftiForms, size: tuple[int, int, int], path: Path) -> Geometry:
    try:
        return replace(Geometry.from_ijk_to_ras(affine, size), forms=forms)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
