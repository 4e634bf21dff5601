"""Where the voxels of a volume lie in the patient: grids, orientation codes, regions of interest.

Conventions are ITK's: indices are (i, j, k) = (x, y, z), positions are in mm, axes are LPS. Arrays are stored
the other way round, `(Z, Y, X)`. Slicer's RAS appears where a name says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GeometryError, OptionError, UnsupportedImageError
from .nifti_forms import NiftiForms

if TYPE_CHECKING:
    import SimpleITK as sitk

Box = tuple[slice, slice, slice]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# NIfTI keeps float32 and DICOM six decimals; a sheared grid is far beyond that.
ORTHONORMAL_TOLERANCE = 1e-3
_NO_COSINE = 1e-30
_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}  # of RAS
_LETTERS = {direction: letter for letter, direction in _DIRECTIONS.items()}


@dataclass(frozen=True)
class Geometry:
    """A regular grid in space.

    `size` in voxels and `spacing` in mm along i, j, k; `origin` is the centre of voxel (0, 0, 0) in mm, LPS;
    `direction` is a row-major 3x3 matrix whose columns are the unit vectors of i, j, k in LPS. `forms` are
    those of the NIfTI file that the grid was read from, for the NIfTI file of a result; grids derived from
    this one have none.

    Raises `GeometryError` for a degenerate or sheared direction, `UnsupportedImageError` for an impossible
    size or spacing.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    forms: NiftiForms | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))
        if isinstance(self.forms, dict):  # from the other side of a pipe
            object.__setattr__(self, "forms", NiftiForms(**self.forms))
        for name in ("spacing", "origin", "direction"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        # ITK cannot invert a matrix with denormal numbers, and resamples nothing but background then.
        direction = tuple(0.0 if abs(cosine) < _NO_COSINE else cosine for cosine in self.direction)
        object.__setattr__(self, "direction", direction)
        if len(self.size) != 3 or min(self.size) < 1:
            raise UnsupportedImageError(
                f"A volume needs three axes with voxels on each, not the size {self.size}."
            )
        if len(self.spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise UnsupportedImageError(
                f"The spacing {shown(self.spacing)} mm is impossible: correct it in the image's header."
            )
        if len(self.origin) != 3 or not np.isfinite(self.origin).all():
            raise GeometryError(
                f"The origin {shown(self.origin)} is no position: correct the image's header."
            )
        _check_direction(self.direction)

    @classmethod
    def from_image(cls, image: sitk.Image | sitk.ImageFileReader) -> Geometry:
        """The grid of a three-dimensional SimpleITK image, or of one whose header a reader has read."""
        if image.GetDimension() != 3:
            raise UnsupportedImageError(
                f"A volume has three dimensions; this image has {image.GetDimension()}."
            )
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_ijk_to_ras(cls, matrix: Any, size: Sequence[int]) -> Geometry:
        """The grid of a Slicer volume: its 4x4 IJK to RAS matrix and its dimensions (i, j, k)."""
        affine = np.asarray(matrix, dtype=float)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"An IJK to RAS matrix has 4x4 finite numbers; got {affine.tolist()}.")
        affine = LPS_TO_RAS @ affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() == 0:
            raise UnsupportedImageError(
                f"The spacing {shown(spacing)} mm is impossible: correct the volume's matrix."
            )
        direction = tuple((affine[:3, :3] / spacing).ravel())
        return cls(_triple(size), _triple(spacing), _triple(affine[:3, 3]), direction)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape `(Z, Y, X)` of an array on this grid."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def affine(self) -> np.ndarray:
        """The 4x4 matrix from indices (i, j, k, 1) to mm in LPS."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        affine[:3, 3] = self.origin
        return affine

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """The 4x4 matrix from indices (i, j, k, 1) to mm in RAS."""
        return LPS_TO_RAS @ self.affine

    @property
    def orientation(self) -> str:
        """Where the axes i, j, k point, as nibabel names it: "RAS" when i runs to the Right, and so on.

        An oblique axis has the name of the patient axis that it is closest to.
        """
        return orientation_code(self.direction)

    @property
    def voxel_volume_ml(self) -> float:
        """The volume of a voxel in mL."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def corners_ras(self) -> np.ndarray:
        """The centres of the eight corner voxels in mm RAS, `(8, 3)`."""
        indices = np.array(list(itertools.product(*((0, n - 1) for n in self.size))), dtype=float)
        return indices @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def reoriented(self, code: str) -> Geometry:
        """The same voxels in space with axes that point as `code` says; only swapped and reversed."""
        axes, flips = _moves(self, code)
        direction = np.reshape(self.direction, (3, 3))
        origin = np.array(self.origin)
        for axis, flip in zip(axes, flips, strict=True):
            if flip:
                origin += direction[:, axis] * self.spacing[axis] * (self.size[axis] - 1)
        signs = np.where(flips, -1.0, 1.0)
        return Geometry(
            _triple([self.size[axis] for axis in axes]),
            _triple([self.spacing[axis] for axis in axes]),
            _triple(origin),
            tuple((direction[:, axes] * signs).ravel()),
        )

    def cropped(self, box: Box) -> Geometry:
        """The grid of `array[box]` for an array `(Z, Y, X)` on this grid."""
        bounds = [s.indices(n) for s, n in zip(box, self.shape, strict=True)]
        if any(step != 1 or stop <= start for start, stop, step in bounds):
            raise GeometryError(f"The box {box} holds no voxels of an array of shape {self.shape}.")
        first = np.array([start for start, _, _ in reversed(bounds)] + [1.0])
        size = _triple([stop - start for start, stop, _ in reversed(bounds)])
        return replace(self, size=size, origin=_triple((self.affine @ first)[:3]), forms=None)

    def close_to(self, other: Geometry, tolerance: float = 0.01) -> bool:
        """True if no voxels of the two grids are further apart than `tolerance` of a voxel's side."""
        if self.size != other.size:
            return False
        distances = np.linalg.norm(self.corners_ras - other.corners_ras, axis=1)
        return float(distances.max()) <= tolerance * min(self.spacing + other.spacing)


@dataclass(frozen=True)
class Roi:
    """A box along the patient's axes, `lower` and `upper` corner in mm RAS, that limits the work."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    def __post_init__(self) -> None:
        corners = (*self.lower, *self.upper)
        if len(corners) != 6 or not np.isfinite(corners).all():
            raise OptionError(f"A region needs two corners of three finite numbers in mm; got {self}.")
        if not all(low < high for low, high in zip(self.lower, self.upper, strict=True)):
            raise OptionError(
                f"The region's lower corner {shown(self.lower)} must be below its upper corner "
                f"{shown(self.upper)} on every axis."
            )

    def box_in(self, geometry: Geometry) -> Box:
        """The smallest box of an array `(Z, Y, X)` on `geometry` with every voxel that the region touches.

        On an oblique grid that is more than the region. Raises `GeometryError` when they do not meet.
        """
        ras_to_ijk = np.linalg.inv(geometry.ijk_to_ras)
        corners = np.array(list(itertools.product(*zip(self.lower, self.upper, strict=True))))
        indices = corners @ ras_to_ijk[:3, :3].T + ras_to_ijk[:3, 3]
        # A voxel covers half a voxel around its index; a region that ends on its face does not touch it.
        low = np.floor(indices.min(axis=0) + 0.5 + 1e-6).astype(int).clip(min=0)
        high = np.ceil(indices.max(axis=0) + 0.5 - 1e-6).astype(int).clip(max=geometry.size)
        if (low >= high).any():
            image = geometry.corners_ras
            raise GeometryError(
                f"The region from {shown(self.lower)} to {shown(self.upper)} mm RAS is outside the image "
                f"({shown(image.min(axis=0))} to {shown(image.max(axis=0))}): move the region."
            )
        i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return (k, j, i)


def reorient_array(array: np.ndarray, geometry: Geometry, code: str) -> tuple[np.ndarray, Geometry]:
    """Transpose and flip `array` `(..., Z, Y, X)` so that its axes point as `code` says: a view.

        canonical, grid = reorient_array(array, geometry, "RAS")
        back, _ = reorient_array(canonical, grid, geometry.orientation)

    Raises `GeometryError` when the array is not on `geometry`.
    """
    if array.shape[-3:] != geometry.shape:
        raise GeometryError(f"An array of shape {array.shape} is not on a grid of shape {geometry.shape}.")
    axes, flips = _moves(geometry, code)
    leading = array.ndim - 3
    # Array axis of index axis n is 2 - n; the new array's axes come in the order k, j, i.
    order = [*range(leading), *(leading + 2 - axis for axis in reversed(axes))]
    steps = [slice(None, None, -1) if flip else slice(None) for flip in reversed(flips)]
    return array.transpose(order)[(..., *steps)], geometry.reoriented(code)


def orientation_code(direction: Any) -> str:
    """The "RAS"-like code of a 3x3 matrix (or nine numbers) whose columns are the axes in LPS."""
    return "".join(_LETTERS[axis] for axis in _closest_axes(direction))


def shown(values: Any) -> str:
    """Numbers as messages write them: six digits, in parentheses."""
    return "(" + ", ".join(f"{float(x):.6g}" for x in values) + ")"


def _moves(geometry: Geometry, code: str) -> tuple[list[int], list[bool]]:
    """For each axis of the wanted orientation: the present axis, and True if it must be reversed."""
    wanted = _parse_orientation(code)
    present = {world: (axis, sign) for axis, (world, sign) in enumerate(_closest_axes(geometry.direction))}
    axes = [present[world][0] for world, _ in wanted]
    flips = [present[world][1] != sign for world, sign in wanted]
    return axes, flips


def _parse_orientation(code: str) -> list[tuple[int, int]]:
    """For each letter the axis of RAS (0, 1, 2) and the sign along it."""
    found = [_DIRECTIONS[letter] for letter in code.upper() if letter in _DIRECTIONS]
    if len(code) != 3 or sorted(world for world, _ in found) != [0, 1, 2]:
        raise OptionError(
            f'"{code}" is no orientation: give one letter each of L or R, P or A, I or S, as in "RAS".'
        )
    return found


def _closest_axes(direction: Any) -> list[tuple[int, int]]:
    """For each index axis the axis of RAS that it is closest to, and its sign along it.

    Of the six assignments the one with the largest sum of cosines wins. Two would tie at exactly 45 degrees,
    where scans are indeed prescribed, and rounding would decide; so the tie is moved to another angle, half a
    degree away, by directions in space alone. Then the choice does not depend on how the axes are stored.
    """
    ras = LPS_TO_RAS[:3, :3] @ np.reshape(direction, (3, 3))

    def closeness(order: tuple[int, ...]) -> float:
        columns = ras[:, order]
        columns = columns * np.where(np.diag(columns) < 0, -1.0, 1.0)
        return float(np.trace(columns) + 0.01 * (columns[1, 0] + 0.7 * columns[2, 0] + 0.5 * columns[2, 1]))

    best = max(itertools.permutations(range(3)), key=closeness)  # best[world] is the index axis
    return [(best.index(axis), 1 if ras[best.index(axis), axis] >= 0 else -1) for axis in range(3)]


def _check_direction(direction: tuple[float, ...]) -> None:
    if len(direction) != 9 or not np.isfinite(direction).all():
        raise GeometryError(
            f"A direction has nine finite numbers; got {shown(direction)}: correct the header."
        )
    matrix = np.reshape(direction, (3, 3))
    error = float(np.abs(matrix.T @ matrix - np.eye(3)).max())
    if error > ORTHONORMAL_TOLERANCE:
        raise GeometryError(
            f"The image's axes are not perpendicular unit vectors (off by {error:.3g}: a sheared or "
            "degenerate grid, perhaps of a tilted gantry): resample it onto a regular grid, in Slicer with "
            "Resample Scalar Volume."
        )


def _triple(values: Any) -> tuple[Any, Any, Any]:
    i, j, k = (x.item() if isinstance(x, np.generic) else x for x in values)
    return (i, j, k)
