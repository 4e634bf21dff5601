"""Warn of heads for a model that was trained on brains without skull, and the reverse.

A brain has at most about two litres, a head without neck more than three. The volume of all that is not
background decides, estimated from the sample of the voxels: a small crop is neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..images.geometry import Geometry
from ..model.description import Model
from .image_doubts import Doubt
from .voxel_sample import VoxelSample

_LARGEST_BRAIN_ML = 2300.0  # ICBM152's average within its mask: 1900; real patients: 1450 to 1600
_SMALLEST_BRAIN_ML = 700.0  # of a child; less is a part of one
_BACKGROUND = 0.15  # smallest share of the voxels that have the value of a background without noise
_NOISE = 0.1  # of the range of the values: the air around a head is below


def skull_doubts(model: Model, images: Sequence[tuple[str, Geometry, VoxelSample]]) -> Iterator[Doubt]:
    """Doubts about images, each with name and grid, that show a skull against the model's description."""
    if not model.skull:
        return
    unlike = [f'"{name}"' for name, grid, sample in images if _shows(grid, sample) not in ("", model.skull)]
    if not unlike:
        return
    show = f"{', '.join(unlike)} {'shows' if len(unlike) == 1 else 'show'}"
    if model.skull == "removed":
        yield Doubt(
            f"{show} a head with its skull, and model {model.name!r} was trained on brains without it: "
            "remove the skull first, for example with Slicer's extension HDBrainExtraction (HD-BET)."
        )
    else:
        yield Doubt(
            f"{show} a brain without its skull, and model {model.name!r} was trained on whole heads: give "
            "the original images."
        )


def _shows(grid: Geometry, sample: VoxelSample) -> str:
    """ "present" for a head, "removed" for a brain alone, "" where it is unknown."""
    values = sample.values[np.isfinite(sample.values)]
    if not len(values):
        return ""
    _, counts = np.unique(values, return_counts=True)
    background = counts.max() / len(values)
    masked = background >= _BACKGROUND
    if not masked:  # the air has noise
        background = np.mean(values <= sample.few + _NOISE * (sample.many - sample.few))
    tissue_ml = (1 - background) * math.prod(grid.size) * grid.voxel_volume_ml
    if tissue_ml > _LARGEST_BRAIN_ML:
        return "present"
    return "removed" if masked and tissue_ml >= _SMALLEST_BRAIN_ML else ""
