"""Join the structures found in the boxes of both sides: one component per side, labels with their side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from ..images.geometry import Box, Geometry, Roi
from ..model.description import Model
from ..model.location import SIDES
from ..model.sides import value_offset
from ..segmentation.label_boxes import label_boxes
from ..segmentation.result import Segmentation
from .plausibility import Part


def join(
    found: Mapping[str, Segmentation], boxes: Mapping[str, Roi], model: Model
) -> tuple[np.ndarray, tuple[Part, ...]]:
    """Labels `(Z, Y, X)` of both sides, and the part of each, left first.

    Of each side the largest component stays. Where the boxes overlap, a voxel belongs to the box whose middle
    is nearer.
    """
    geometry = found[SIDES[0]].geometry
    largest = max(label.value for label in model.labels) * (len(SIDES) + 1)
    joined = np.zeros(geometry.shape, np.uint8 if largest < 256 else np.uint16)
    parts = []
    for side in SIDES:
        box = boxes[side].box_in(geometry)
        labels = found[side].labelmap[box].copy()
        labels[_nearer_to_other(box, side, boxes, geometry)] = 0
        parts.append(_reduced(labels, side, boxes[side], geometry.cropped(box)))
        target = joined[box]
        here = labels > 0
        target[here] = labels[here].astype(joined.dtype) + value_offset(model.labels, side)
    return joined, tuple(parts)


def _nearer_to_other(box: Box, side: str, boxes: Mapping[str, Roi], geometry: Geometry) -> np.ndarray:
    """Voxels `(Z, Y, X)` of one side's box that lie in the other's box, too, and nearer to its middle."""
    other_side = next(each for each in SIDES if each != side)
    other = boxes[other_side].box_in(geometry)
    overlap = tuple(
        slice(max(a.start, b.start) - a.start, max(0, min(a.stop, b.stop) - a.start))
        for a, b in zip(box, other, strict=True)
    )
    nearer = np.zeros([axis.stop - axis.start for axis in box], bool)
    if any(axis.start >= axis.stop for axis in overlap):
        return nearer
    grid = geometry.cropped(box)
    indices = np.stack(np.meshgrid(*(np.arange(a.start, a.stop) for a in overlap), indexing="ij"), axis=-1)
    points = indices[..., ::-1] @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
    own, others = (np.linalg.norm(points - middle_of(boxes[each]), axis=-1) for each in (side, other_side))
    nearer[overlap] = (own > others) | ((own == others) & (side != SIDES[0]))
    return nearer


def _reduced(labels: np.ndarray, side: str, roi: Roi, grid: Geometry) -> Part:
    """Erase, in place, all but the largest component, and describe it."""
    everything = int((labels > 0).sum())
    if not everything:
        return Part(side, 0.0, 0.0, 0.0, False)
    mask = sitk.GetImageFromArray((labels > 0).view(np.uint8))
    components = sitk.GetArrayFromImage(sitk.ConnectedComponent(mask, True))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    labels[components != sizes.argmax()] = 0  # of equal ones the first
    where = np.argwhere(labels > 0)
    centre = grid.ijk_to_ras[:3, :3] @ where.mean(axis=0)[::-1] + grid.ijk_to_ras[:3, 3]
    (one,) = label_boxes((labels > 0).view(np.uint8), [1]).values()
    return Part(
        side,
        len(where) * grid.voxel_volume_ml,
        len(where) / everything,
        float(np.linalg.norm(centre - middle_of(roi))),
        any(axis.start == 0 or axis.stop == side for axis, side in zip(one, labels.shape, strict=True)),
    )


def middle_of(roi: Roi) -> np.ndarray:
    """The middle of a box, mm RAS."""
    return (np.array(roi.lower) + roi.upper) / 2
