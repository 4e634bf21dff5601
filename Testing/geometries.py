"""Random grids in space for property-based tests: oblique, anisotropic, permuted, flipped, left-handed."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from mednext.geometry import Geometry

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*axes)
]

orientations = st.sampled_from(ORIENTATIONS)
angles = st.floats(-180, 180)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """The rotation by these angles in degrees about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians([x, y, z])):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


@st.composite
def geometries(draw: st.DrawFn, smallest: int = 1, largest: int = 7) -> Geometry:
    """Any grid: any rotation, any order and sign of the axes (so left-handed ones too), any spacing."""
    turned = rotation(*(draw(angles) for _ in range(3)))
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from((-1, 1))) for _ in range(3)]
    size = tuple(draw(st.integers(smallest, largest)) for _ in range(3))
    spacing = tuple(draw(st.floats(0.3, 6)) for _ in range(3))
    origin = tuple(draw(st.floats(-300, 300)) for _ in range(3))
    return Geometry(size, spacing, origin, tuple((turned[:, order] * signs).ravel()))


def positions(geometry: Geometry) -> np.ndarray:
    """Where every voxel is, mm in RAS, `(3, Z, Y, X)`."""
    k, j, i = np.indices(geometry.shape)
    ras = geometry.ijk_to_ras
    return np.stack(
        [ras[axis, 0] * i + ras[axis, 1] * j + ras[axis, 2] * k + ras[axis, 3] for axis in range(3)]
    )
