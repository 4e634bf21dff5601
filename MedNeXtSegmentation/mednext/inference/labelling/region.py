"""The part of a volume that gets labels, the part that the networks must see for it, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from ...images.geometry import Box
from ...model.description import Model
from ..preprocessing import Preprocessed
from ..resampling.matrices import axis_weights, coarse_axis
from ..tiles import count_tiles, streaming_order

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Extent:
    """The work of one run.

    Attributes:
        target: box of the oriented volume `(Z, Y, X)` that gets labels.
        source: box of the preprocessed image `(Z, Y, X)` that the networks see.
        weights: for z, y, x the matrix (voxels of target, voxels of source) that brings predictions back.
        axes: order of z, y, x (0, 1, 2) in which the image is worked through; the first one is streamed.
        tiles: how many tiles the networks see.
    """

    target: Box
    source: Box
    weights: tuple[Tensor, Tensor, Tensor]
    axes: tuple[int, int, int]
    tiles: int


def plan_extent(
    image: Preprocessed, model: Model, wanted: Box | None, step: float | None = None
) -> Extent | None:
    """The work that labels a box of the oriented volume; None if that box holds nothing but zeros.

    The networks see half a patch more than is wanted on every side, as far as there is an image, and at least
    one patch.

    Args:
        image: the whole volume, preprocessed; so the intensities do not depend on the box.
        model: gives patch and pipeline.
        wanted: box of the oriented volume; None for all of it.
        step: largest distance of two tiles as a fraction of the patch; None for the model's.
    """
    target = _intersection(image.crop, wanted or image.crop)
    if target is None:
        return None
    # Where both grids are anisotropic along different axes, v1 goes by the source's and v2 by the model's.
    spacings = [image.source_spacing, image.spacing]
    separate = coarse_axis(*(spacings if model.pipeline == "nnunet_v1" else reversed(spacings)))
    source, weights = [], []
    shape, cropped = image.array.shape[1:], image.cropped_shape
    for axis in range(3):
        whole = axis_weights(shape[axis], cropped[axis], order=0 if axis == separate else 1)
        offset = image.crop[axis].start
        part = whole[target[axis].start - offset : target[axis].stop - offset]
        seen = _seen(part, model.patch[axis])
        source.append(seen)
        weights.append(part[:, seen])
    sides = [side.stop - side.start for side in source]
    step = model.step if step is None else step
    axes = streaming_order(sides, model.patch, step)
    tiles = count_tiles(sides, model.patch, step)
    return Extent(target, _three(source), _three(weights), axes, tiles)


def _intersection(box: Box, other: Box) -> Box | None:
    sides = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, other, strict=True)]
    return _three(sides) if all(side.start < side.stop for side in sides) else None


def _seen(weights: Tensor, patch: int) -> slice:
    """The voxels along one axis that weigh in, half a patch more on both sides, and at least one patch."""
    used = weights.any(dim=0).nonzero()
    length = weights.shape[1]
    start = max(0, int(used[0]) - patch // 2)
    stop = min(length, int(used[-1]) + 1 + patch // 2)
    start = max(0, min(start, stop - patch))
    return slice(start, min(length, max(stop, start + patch)))


def _three(values: Sequence[T]) -> tuple[T, T, T]:
    z, y, x = values
    return z, y, x
