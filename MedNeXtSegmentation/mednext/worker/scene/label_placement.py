"""Move the labels of a labelmap to another grid, cropped to their box."""

from __future__ import annotations

import itertools

import numpy as np

from ...errors import GeometryError
from ...images.geometry import Box

_WHOLE_VOXELS = 0.01  # a shift this near to whole voxels counts as whole, since files round
_MOST_VOXELS = 2**31


def whole_shift(matrix: np.ndarray) -> np.ndarray | None:
    """The shift (i, j, k) in whole voxels of a 4x4 matrix between indices; None when it is no such shift."""
    shift = np.round(matrix[:3, 3])
    same = np.abs(matrix[:3] - np.column_stack([np.eye(3), shift])).max(axis=0)
    return shift.astype(int) if (same < (1e-5, 1e-5, 1e-5, _WHOLE_VOXELS)).all() else None


def placed(labelmap: np.ndarray, matrix: np.ndarray) -> tuple[Box, np.ndarray]:
    """The box `(Z, Y, X)` of a grid that the labels of a labelmap fill, and the labels in it.

    matrix: 4x4, from the labelmap's indices (i, j, k) to the grid's.

    On another grid every voxel gets the label of the nearest voxel. The box may reach beyond the grid's own
    extent, so that no label is cut off. It is one voxel where nothing was found. The array may be a view.

    Raises `GeometryError` when the grid is so fine that the result would be too large.
    """
    box = _foreground_box(labelmap)
    shift = whole_shift(matrix)
    if shift is not None:
        return _moved(box, shift), labelmap[box]
    return _resampled(labelmap[box], box, matrix)


def _resampled(labels: np.ndarray, box: Box, matrix: np.ndarray) -> tuple[Box, np.ndarray]:
    import SimpleITK as sitk  # not above: Slicer loads this file when it starts

    lower, upper = _bounds(box, matrix)
    size = upper - lower + 1
    if np.prod(size.astype(float)) > _MOST_VOXELS:
        raise GeometryError(
            "On the grid of the chosen segmentation the result would have "
            f"{' x '.join(map(str, size))} voxels: choose a new segmentation."
        )
    back = np.linalg.inv(matrix)
    transform = sitk.AffineTransform(back[:3, :3].ravel().tolist(), back[:3, 3].tolist())
    image = sitk.GetImageFromArray(labels)
    image.SetOrigin([float(axis.start) for axis in reversed(box)])
    resampled = sitk.Resample(
        image, size.tolist(), transform, sitk.sitkNearestNeighbor, lower.astype(float).tolist()
    )
    array = sitk.GetArrayFromImage(resampled)
    found = _foreground_box(array)
    return _moved(found, lower), array[found]


def _moved(box: Box, shift: np.ndarray) -> Box:
    k, j, i = (
        slice(axis.start + n, axis.stop + n) for axis, n in zip(box, shift[::-1].tolist(), strict=True)
    )
    return k, j, i


def _bounds(box: Box, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last index (i, j, k) of the grid that a box of the labelmap can reach."""
    edges = [(axis.start - 0.5, axis.stop - 0.5) for axis in reversed(box)]
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*edges)]) @ matrix[:3].T
    return np.ceil(corners.min(axis=0)).astype(int), np.floor(corners.max(axis=0)).astype(int)


def _foreground_box(labelmap: np.ndarray) -> Box:
    """The smallest box with every label; the first voxel where nothing was found."""
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(labelmap.any(axis=others))
        bounds.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 1))
    return bounds[0], bounds[1], bounds[2]
