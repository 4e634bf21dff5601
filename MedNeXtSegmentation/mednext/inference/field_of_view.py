"""The part of an image that a model gets, and a warning if that is much larger than its training images.

A network trained only on small crops may mistake other structures for its own, and normalising over a whole
head changes the intensities that it learned.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..images.geometry import Box, Geometry, Roi
from ..model.description import Model

logger = logging.getLogger(__name__)

_TOLERANCE = 1.5  # an image may be so many times as large as the largest training image without a warning


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """The part of a volume that a model gets.

    Attributes:
        box: place of this part in the whole volume `(Z, Y, X)`.
        whole: grid of the whole volume.
        warning: a sentence for the user where the model was trained on much smaller images, or "".
    """

    box: Box
    whole: Geometry
    warning: str


def field_of_view(whole: Geometry, model: Model, roi: Roi | None) -> FieldOfView:
    """The part of a volume that a model gets: the region if it was trained on crops, else everything.

    Raises:
        GeometryError: the region is outside of the grid.
    """
    box = part_of(whole, model, roi)
    warning = size_warning(whole.cropped(box), model)
    if warning:
        logger.warning(warning)
    return FieldOfView(box, whole, warning)


def part_of(whole: Geometry, model: Model, roi: Roi | None) -> Box:
    """The part of a grid that a model gets.

    Raises:
        GeometryError: the region is outside of the grid.
    """
    if model.field_of_view and roi:
        return roi.box_in(whole)
    z, y, x = (slice(0, side) for side in whole.shape)
    return z, y, x


def size_warning(grid: Geometry, model: Model) -> str:
    """A sentence for the user where the model was trained on much smaller images than this grid, or ""."""
    if not model.field_of_view:
        return ""
    oriented = grid.reoriented(model.orientation)
    extent = np.multiply(oriented.size, oriented.spacing)
    largest = np.array(model.field_of_view[::-1])
    if (extent <= _TOLERANCE * largest).all():
        return ""
    return (
        f"The image shows {_sides(extent)} mm, but model {model.name!r} was trained on images of at most "
        f"{_sides(largest)} mm: expect structures in wrong places. Crop the image around what is to be "
        "segmented, or give a region of interest."
    )


def _sides(extent: np.ndarray) -> str:
    return " × ".join(f"{side:.0f}" for side in extent)
