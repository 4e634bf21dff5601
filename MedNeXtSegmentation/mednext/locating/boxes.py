"""Find the boxes around both sides of a model's structure in a whole image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from ..errors import LocationError, OptionError
from ..images.geometry import LPS_TO_RAS, Geometry, Roi
from ..images.volume import Volume
from ..model.description import Model
from ..model.location import SIDES
from ..model.sides import box_word
from .both_sides import middle_of
from .levels import levels
from .plausibility import contradiction, refusal, registration_doubts
from .registration import register
from .template import LEVELS_MM

logger = logging.getLogger(__name__)

_LEAST_INSIDE = 0.9  # of a box, that the image must show
_LEAST_FILLED = 0.75  # of a box, that must not be dark; whole heads reached 0.95 and more
_DARK = 0.15  # of the usual brightness


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of both sides in an image.

    Attributes:
        of_side: the box of "left" and of "right".
        words: for the provenance, how they were found.
        warnings: sentences for the user.
    """

    of_side: Mapping[str, Roi]
    words: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def told(self) -> dict[str, str]:
        """The boxes, and how they were found, for the provenance."""
        boxes = {
            box_word(side): " ".join(f"{value:.1f}" for value in (*roi.lower, *roi.upper))
            for side, roi in self.of_side.items()
        }
        return {**self.words, **boxes}


def given_boxes(boxes: Mapping[str, Roi], geometry: Geometry) -> Boxes:
    """The boxes that a user placed, checked.

    Raises:
        OptionError: the left box lies to the right of the right one.
        GeometryError: a box is outside of the image.
    """
    left, right = (boxes[side] for side in SIDES)
    if middle_of(left)[0] >= middle_of(right)[0]:
        raise OptionError(
            "The box of the left side lies to the right of the other one in the patient: exchange them."
        )
    for roi in (left, right):
        roi.box_in(geometry)
    return Boxes(dict(boxes), {"location": "boxes given by the user"})


def find_boxes(
    volume: Volume, model: Model, insist: bool, step_done: Callable[[], None] = lambda: None
) -> Boxes:
    """Register the template of the model's location with the first channel.

    Takes some seconds. With `insist` a refused registration becomes a warning, unless the boxes are not in
    the image, or the head does not lie as its header says: the sides would be those of a wrong header.

    Raises `LocationError` where the structure is not in the image, or its place is not certain enough.
    """
    location = model.location
    assert location is not None
    images = levels(volume.array[0], volume.geometry)
    found = register(location.template, images, step_done)
    if wrong := contradiction(found):
        raise LocationError(
            f"The {location.structure} was not found with certainty: {wrong}. A wrong header can "
            "exchange left and right, so insisting does not help: correct the header or, if it is right, "
            "give the boxes of both sides yourself."
        )
    reason = refusal(found)
    if reason and not insist:
        raise LocationError(
            f"The {location.structure} was not found with certainty: {reason}. Check that the image shows a "
            "whole head as its header says, or give a region of interest around the structure."
        )
    warnings = (f"The boxes are not certain: {reason}.",) if reason else registration_doubts(found)
    of_side = {}
    for place in location.places:
        centre = found.place(place.centre)
        half = np.array(place.size) / 2
        roi = Roi(_three(centre - half), _three(centre + half))
        _check_shown(roi, volume.geometry, images[LEVELS_MM[-1]], f"{place.side} {location.structure}")
        of_side[place.side] = roi
    for warning in warnings:
        logger.warning(warning)
    words = {
        "location": "found by registration",
        "location_template": location.template,
        "location_transform_ras": " ".join(f"{value:.6g}" for value in found.to_image.ravel()),
        "location_similarity": f"{found.similarity:.3f}",
        "location_turned_similarity": f"{found.turned_similarity:.3f}",
        "location_spread_mm": f"{found.spread_mm:.1f}",
        "location_tilt_deg": f"{found.tilt_deg:.1f}",
    }
    return Boxes(of_side, words, warnings)


def _check_shown(roi: Roi, geometry: Geometry, image: sitk.Image, name: str) -> None:
    """Raise `LocationError` unless the image shows nearly all of a box: a cut structure would look small.

    `image` is one of `levels`, in which air is dark.
    """
    ticks = [np.linspace(low, high, 9) for low, high in zip(roi.lower, roi.upper, strict=True)]
    points = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = _within(points, geometry).mean()
    if inside < _LEAST_INSIDE:
        raise LocationError(
            f"The image shows only {inside:.0%} of the place where the {name} should be: use an image that "
            "shows all of it, or give a region of interest."
        )
    filled = filled_share(points, image)
    if filled < _LEAST_FILLED:
        raise LocationError(
            f"The image is dark in {1 - filled:.0%} of the place where the {name} should be, as if a part "
            "of the head were missing: use an image of the whole head, or give a region of interest."
        )


def filled_share(points: np.ndarray, image: sitk.Image) -> float:
    """The share of points `(N, 3)`, mm RAS, that are not dark in an image of `levels`."""
    values = sitk.GetArrayViewFromImage(image)
    usual = float(np.median(values[values > _DARK * np.percentile(values, 99)]))
    at = [image.TransformPhysicalPointToIndex(point) for point in (points @ LPS_TO_RAS[:3, :3].T).tolist()]
    indices = np.clip(at, 0, np.array(image.GetSize()) - 1)
    return float((values[tuple(indices[:, ::-1].T)] > _DARK * usual).mean())


def _within(points: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Which points `(N, 3)`, mm RAS, the grid covers."""
    to_index = np.linalg.inv(geometry.ijk_to_ras)
    indices = points @ to_index[:3, :3].T + to_index[:3, 3]
    covered = (indices >= -0.5) & (indices <= np.array(geometry.size) - 0.5)
    return np.asarray(covered.all(axis=1))


def _three(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.round(1).tolist()
    return x, y, z
