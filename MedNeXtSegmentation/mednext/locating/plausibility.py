"""Judge whether a structure was found: the registration before the run, and the found parts after it.

The limits were set by benchmarks/heads.py, on random heads and on images that show no head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model.location import Location
from .registration import Registration

# Heads reached 0.16 and more, images of other things at most 0.10 (docs/hippocampus.md).
_UNSURE_SIMILARITY, _REFUSED_SIMILARITY = 0.16, 0.12
_CLEAR_SIMILARITY = 0.22  # which needs no second start
_REFUSED_TILT_DEG = 50.0
_UNSURE_SPREAD_MM = 10.0
_SCALES = (0.65, 1.35)  # of a brain, along any axis, in units of the template's
_STRETCH = 1.6  # the largest of the three factors divided by the smallest
_FARTHEST_MM = 15.0  # from the expected centre to that of the found part
_ASYMMETRY = 0.35  # of the two sides' volumes, see `asymmetry`
_LEAST_SHARE = 0.7  # of the found voxels, that the largest component has


def contradiction(found: Registration) -> str:
    """The reason why the head does not lie as its header says, as the end of a sentence, or "".

    Left and right come from the header alone: a wrong one is refused even if the user insists.
    """
    if np.linalg.det(found.to_image[:3, :3]) <= 0:
        return "the template fits only as a mirror image"
    if found.turned_similarity > max(found.similarity, _REFUSED_SIMILARITY):
        return (
            "the head seems to be turned round in the image's space: its header may be wrong, or the image "
            "shows another thing"
        )
    if found.similarity >= _REFUSED_SIMILARITY and found.tilt_deg > _REFUSED_TILT_DEG:
        return f"the head would be tilted by {found.tilt_deg:.0f} degrees"
    return ""


def refusal(found: Registration) -> str:
    """The reason why a registration without contradiction cannot be used, as the end of a sentence, or ""."""
    largest, _, smallest = found.scales
    if found.similarity < _REFUSED_SIMILARITY:
        return f"the image resembles the template too little (similarity {found.similarity:.2f})"
    if smallest < _SCALES[0] or largest > _SCALES[1] or largest > _STRETCH * smallest:
        return f"the brain would have {smallest:.2f} to {largest:.2f} times the usual size"
    return ""


def registration_doubts(found: Registration) -> tuple[str, ...]:
    """Sentences on a registration that can be used but may be wrong."""
    doubts = []
    if found.similarity < _UNSURE_SIMILARITY:
        doubts.append(f"the image resembles the template little (similarity {found.similarity:.2f})")
    if found.spread_mm > _UNSURE_SPREAD_MM:
        doubts.append(f"other starts led just as well to places {found.spread_mm:.0f} mm away")
    if not found.agreeing and found.similarity < _CLEAR_SIMILARITY:
        doubts.append("no other start led to the same place")
    if not doubts:
        return ()
    return (f"The boxes may be in the wrong place: {', and '.join(doubts)}. Look at them before the result.",)


@dataclass(frozen=True)
class Part:
    """The parts that a run found on one side.

    Attributes:
        side: "left" or "right".
        volume_ml: of the largest component, all labels together.
        share: of all found voxels, that the largest component has; 0 if nothing was found.
        off_mm: from the centre of the box to that of the component.
        at_border: whether the component reaches the border of its box.
    """

    side: str
    volume_ml: float
    share: float
    off_mm: float
    at_border: bool


def part_doubts(parts: tuple[Part, ...], location: Location) -> tuple[str, ...]:
    """Sentences on implausible volumes and places of the found parts."""
    doubts = [doubt for part in parts for doubt in _doubts_of(part, location)]
    left, right = (part.volume_ml for part in parts)
    if min(left, right) > 0 and abs(asymmetry(left, right)) > _ASYMMETRY:
        doubts.append(f"The two sides differ much (left {left:.2f} mL, right {right:.2f} mL): check both.")
    return tuple(doubts)


def asymmetry(left_ml: float, right_ml: float) -> float:
    """The difference left - right as a share of the mean of both; 0 if both are empty."""
    mean = (left_ml + right_ml) / 2
    return (left_ml - right_ml) / mean if mean else 0.0


def _doubts_of(part: Part, location: Location) -> list[str]:
    name = f"{part.side} {location.structure}"
    if not part.share:
        return [f"No {name} was found in its box: check the box."]
    smallest, largest = location.volume_ml
    doubts = []
    if not smallest <= part.volume_ml <= largest:
        doubts.append(
            f"The {name} has {part.volume_ml:.2f} mL; {smallest:g} to {largest:g} mL would be plausible. "
            "Check it and its box."
        )
    if part.off_mm > _FARTHEST_MM:
        doubts.append(f"The {name} lies {part.off_mm:.0f} mm off the middle of its box: check the box.")
    if part.at_border:
        doubts.append(f"The {name} reaches the border of its box and may be cut there: check the box.")
    if part.share < _LEAST_SHARE:
        doubts.append(
            f"Only {part.share:.0%} of the voxels found as {name} hang together; the others were left out."
        )
    return doubts
