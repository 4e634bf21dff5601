"""The part of an image that a model gets, and a warning if that is much larger than its training images.

A network trained only on small crops may mistake other structures for its own, and normalising over a whole
head changes the intensities that it learned.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..images.geometry import Box, Geometry, Roi, reorient_array
from ..model.description import Model

logger = logging.getLogger(__name__)

_TOLERANCE = 1.5  # an image may be so many times as large as the largest training image without a warning


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """The part of a volume that a model gets, and the way back.

    Attributes:
        whole: grid of the volume.
        box: place of the part in the volume `(Z, Y, X)`.
        orientation: of the model.
        warning: a sentence for the user where the model was trained on much smaller images, or "".
    """

    whole: Geometry
    box: Box
    orientation: str
    warning: str

    @property
    def oriented(self) -> Geometry:
        """The grid of the part in the model's orientation."""
        return self.whole.cropped(self.box).reoriented(self.orientation)

    def view(self, array: np.ndarray) -> np.ndarray:
        """The part, in the model's orientation, of an array `(..., Z, Y, X)` of the volume: a view."""
        return reorient_array(array[(..., *self.box)], self.whole.cropped(self.box), self.orientation)[0]


def field_of_view(whole: Geometry, model: Model, roi: Roi | None) -> FieldOfView:
    """The part of a volume that a model gets: the region if it was trained on crops, else everything.

    Raises:
        GeometryError: the region is outside of the grid.
    """
    box = part_of(whole, model, roi)
    warning = size_warning(whole.cropped(box), model)
    if warning:
        logger.warning(warning)
    return FieldOfView(whole, box, model.orientation, warning)


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
