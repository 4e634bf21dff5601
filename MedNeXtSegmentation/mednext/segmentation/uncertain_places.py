"""The most uncertain places of a result, for a person who corrects it to look at first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..images.geometry import Box, Geometry
from ..system.cancellation import check_cancelled

MOST_PLACES = 30
APART_MM = 15.0  # nearer places are in view together

_CELL_MM = 4.0
_FLOOR = 0.05  # of the largest possible uncertainty; less is never worth a correction
_PART_OF_MAXIMUM = 0.5
_PART_OF_FIRST = 0.05  # of the first place's amount; a place with less is a speck


@dataclass(frozen=True)
class Place:
    """`position` in mm RAS, in the space of the volume; `amount` is the sum of uncertainty around it, mL.

    `labels` are those of the uncertain voxels there, the most frequent first; none where all are background.
    """

    position: tuple[float, float, float]
    amount: float
    labels: tuple[int, ...] = ()


def uncertain_places(
    uncertainty: np.ndarray,
    geometry: Geometry,
    labelmap: np.ndarray | None = None,
    most: int = MOST_PLACES,
    cancelled: Callable[[], bool] | None = None,
) -> list[Place]:
    """The places with the most uncertainty around them, in decreasing order, at least `APART_MM` apart.

    uncertainty: `(Z, Y, X)` in [0, 1], 1 for the largest.
    labelmap: `(Z, Y, X)`, the uncertain result, 0 for background.
    cancelled: asked before every plane; True raises `Cancelled`.

    Voxels with less than half of the largest value do not count. The others are summed in cells of a few mm
    and their neighbours: an uncertain border often surrounds a whole organ, and its worst stretches are to be
    separate places. The position is one of the most uncertain voxels there.
    """
    limit = max(_FLOOR, _PART_OF_MAXIMUM * float(uncertainty.max(initial=0.0)))
    cell = tuple(max(1, round(_CELL_MM / mm)) for mm in reversed(geometry.spacing))
    around = _with_neighbours(_cells(uncertainty, limit, cell, cancelled))
    places: list[Place] = []
    smallest = _PART_OF_FIRST * around.max(initial=0.0)
    while len(places) < most and around.size and around.max() > smallest:
        index = np.unravel_index(int(around.argmax()), around.shape)
        window = _window(index, cell, uncertainty.shape)
        voxel = _worst_voxel(uncertainty, window, limit)
        labels = () if labelmap is None else _labels(labelmap[window], uncertainty[window] >= limit)
        place = Place(_position(voxel, geometry), float(around[index]) * geometry.voxel_volume_ml, labels)
        around[index] = 0
        if any(math.dist(place.position, other.position) < APART_MM for other in places):
            continue  # the cell is far enough, but its worst voxel is not
        places.append(place)
        around[_near(voxel, around.shape, cell, geometry)] = 0
    return places


def _cells(
    uncertainty: np.ndarray, limit: float, cell: tuple[int, ...], cancelled: Callable[[], bool] | None
) -> np.ndarray:
    """The sum of the values above the limit in each cell of `cell` voxels (Z, Y, X)."""
    starts = [np.arange(0, n, step) for n, step in zip(uncertainty.shape, cell, strict=True)]
    sums = np.zeros([len(start) for start in starts])
    for k, plane in enumerate(uncertainty):  # plane by plane: a large volume has no room for copies
        check_cancelled(cancelled)
        counted = np.where(plane >= limit, plane, np.float32(0))
        rows = np.add.reduceat(counted, starts[1], axis=0)
        sums[k // cell[0]] += np.add.reduceat(rows, starts[2], axis=1)
    return sums


def _with_neighbours(cells: np.ndarray) -> np.ndarray:
    """The sum of each cell and its 26 neighbours; zero where the cell itself is zero."""
    total = cells
    for axis in range(3):
        padded = np.pad(total, [(1, 1) if axis == other else (0, 0) for other in range(3)])
        n = total.shape[axis]
        before, itself, after = (np.take(padded, range(start, start + n), axis=axis) for start in range(3))
        total = before + itself + after
    return np.where(cells > 0, total, 0.0)


def _window(index: tuple[np.intp, ...], cell: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    """The voxels of a cell and its neighbours."""
    k, j, i = (
        slice(max(0, (int(at) - 1) * step), min(n, (int(at) + 2) * step))
        for at, step, n in zip(index, cell, shape, strict=True)
    )
    return k, j, i


def _worst_voxel(uncertainty: np.ndarray, window: Box, limit: float) -> np.ndarray:
    """The index (k, j, i) of the most uncertain voxel, the middle one of several."""
    part = uncertainty[window]
    middle = np.argwhere(part >= limit).mean(axis=0)
    worst = np.argwhere(part >= 0.95 * part.max())
    nearest = worst[((worst - middle) ** 2).sum(axis=1).argmin()]
    return nearest + [axis.start for axis in window]


def _labels(labelmap: np.ndarray, uncertain: np.ndarray) -> tuple[int, ...]:
    values, counts = np.unique(labelmap[uncertain], return_counts=True)
    ordered = values[np.argsort(-counts, kind="stable")].tolist()
    return tuple(value for value in ordered if value)


def _near(voxel: np.ndarray, cells: tuple[int, ...], cell: tuple[int, ...], geometry: Geometry) -> np.ndarray:
    """The mask of the cells whose centre is within `APART_MM` of a voxel."""
    squared = np.zeros(cells)
    for axis, (n, step) in enumerate(zip(cells, cell, strict=True)):
        centres = (np.arange(n) + 0.5) * step - 0.5
        mm = (centres - voxel[axis]) * geometry.spacing[2 - axis]
        squared += (mm**2).reshape([-1 if axis == other else 1 for other in range(3)])
    return squared <= APART_MM**2


def _position(voxel: np.ndarray, geometry: Geometry) -> tuple[float, float, float]:
    r, a, s = (geometry.ijk_to_ras @ [*voxel[::-1], 1.0])[:3].tolist()
    return r, a, s
