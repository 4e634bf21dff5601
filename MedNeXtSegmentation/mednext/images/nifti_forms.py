"""The qform and the sform of a NIfTI header, the two places in space that it can give.

Both go with the grid of an image into the file of its result: whichever form another program follows, it
shows the result in the place of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# The limit of nifti1_io: below it, the real part of the quaternion is rounding noise.
_LEAST_REAL_SQUARE = 1e-7


@dataclass(frozen=True)
class NiftiForms:
    """Both forms, lengths in mm, axes in RAS.

    Attributes:
        spacing: of i, j, k; it belongs to the qform.
        qform_code, sform_code: 0 for no such form, else the code of the space that it leads to.
        quaternion: (b, c, d) of the qform's rotation.
        position: of voxel (0, 0, 0) by the qform.
        handedness: 1, or -1 where the qform's k axis is reversed.
        sform: the 3x4 matrix from index, row after row.
    """

    spacing: tuple[float, float, float]
    qform_code: int
    sform_code: int
    quaternion: tuple[float, float, float]
    position: tuple[float, float, float]
    handedness: int
    sform: tuple[float, ...]

    @property
    def by_qform(self) -> np.ndarray:
        """The 4x4 matrix from index to mm."""
        affine = np.eye(4)
        affine[:3, :3] = self._rotation * (1, 1, self.handedness) * self.spacing
        affine[:3, 3] = self.position
        return affine

    @property
    def by_sform(self) -> np.ndarray:
        """The 4x4 matrix from index to mm."""
        return np.vstack([np.reshape(self.sform, (3, 4)), [0, 0, 0, 1]])

    @property
    def _rotation(self) -> np.ndarray:
        b, c, d = self.quaternion
        square = 1.0 - b * b - c * c - d * d
        if square < _LEAST_REAL_SQUARE:
            length = math.hypot(b, c, d)
            a, b, c, d = 0.0, b / length, c / length, d / length
        else:
            a = math.sqrt(square)
        return np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )


def both_forms(affine: np.ndarray, code: int = 1) -> NiftiForms:
    """A qform and a sform for the same 4x4 matrix from index to mm RAS, which has no shear."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    rotation = affine[:3, :3] / spacing
    handedness = -1 if np.linalg.det(rotation) < 0 else 1
    return NiftiForms(
        _three(spacing),
        code,
        code,
        _quaternion(rotation * (1, 1, handedness)),
        _three(affine[:3, 3]),
        handedness,
        tuple(float(x) for x in affine[:3].ravel()),
    )


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float]:
    """(b, c, d) of a rotation, by the largest eigenvector of Bar-Itzhack's matrix."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    real, b, c, d = np.linalg.eigh(matrix)[1][:, -1]
    sign = -1 if real < 0 else 1
    return float(sign * b), float(sign * c), float(sign * d)


def _three(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
