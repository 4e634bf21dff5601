"""How well a structure was found: Dice, surface Dice at 1 mm and HD95, by MONAI's metrics."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

State = Literal["found", "missed", "invented", "absent"]
SURFACE_TOLERANCE_MM = 1.0


@dataclass(frozen=True)
class Score:
    """One structure in one case.

    Attributes:
        state: "found" where truth and result have it, "missed" where only the truth does, "invented" where
            only the result does, "absent" where neither does.
        dice: 0 where missed or invented; None where absent.
        surface_dice: share of both surfaces that lie within 1 mm of each other; 0 and None as for Dice.
        hd95_mm: 95th percentile of the distances between the surfaces; None unless found, since no distance
            leads to nothing.
    """

    state: State
    dice: float | None
    surface_dice: float | None
    hd95_mm: float | None


def is_sound(said: Score) -> bool:
    """Whether a score that was read from a file can be one."""
    most = {"dice": 1.0, "surface_dice": 1.0, "hd95_mm": sys.float_info.max}
    numbers = [(getattr(said, name), high) for name, high in most.items()]
    return (
        said.state in get_args(State)
        and (said.dice is None) == (said.state == "absent")
        and all(
            each is None or (isinstance(each, int | float) and 0 <= each <= high) for each, high in numbers
        )
    )


def score(truth: np.ndarray, result: np.ndarray, spacing: Sequence[float]) -> Score:
    """Compare two masks `(Z, Y, X)` whose voxels have this size in mm, `(Z, Y, X)`."""
    has_truth, has_result = bool(truth.any()), bool(result.any())
    if not has_truth and not has_result:
        return Score("absent", None, None, None)
    if not (has_truth and has_result):
        return Score("missed" if has_truth else "invented", 0.0, 0.0, None)
    truth, result = _around(truth | result, truth, result)
    surface_dice, hd95 = _surfaces(truth, result, spacing)
    return Score("found", dice(truth, result), surface_dice, hd95)


def dice(truth: np.ndarray, result: np.ndarray) -> float:
    """Dice of two masks, at least one of which has voxels."""
    return 2.0 * int((truth & result).sum()) / (int(truth.sum()) + int(result.sum()))


def _surfaces(truth: np.ndarray, result: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    a, b = (torch.from_numpy(mask)[None, None] for mask in (result, truth))
    steps = [float(step) for step in spacing]
    # Subvoxels weigh each piece of surface by its area, so that steps of thick slices do not count double.
    surface_dice = compute_surface_dice(
        a, b, [SURFACE_TOLERANCE_MM], include_background=True, spacing=steps, use_subvoxels=True
    )
    hd95 = compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=steps)
    return float(surface_dice), float(hd95)


def _around(extent: np.ndarray, *masks: np.ndarray) -> list[np.ndarray]:
    """Crop masks to their extent and add background: a structure at the image's edge has a surface there."""
    box = tuple(
        slice(int(places.min()), int(places.max()) + 1)
        for places in (np.flatnonzero(extent.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1)))
    )
    return [np.pad(mask[box], 2) for mask in masks]
