"""Whether a run on a whole image finds boxes, and how coarsely: known before torch and SimpleITK are."""

from __future__ import annotations

from collections.abc import Sequence

from ..images.geometry import Geometry
from ..inference.field_of_view import size_warning
from ..inference.options import Options
from ..model.description import Model

_FINEST_MM = 2.0


def wants_boxes(model: Model, geometry: Geometry, options: Options) -> bool:
    """Whether a run segments both sides in boxes: found ones in a whole image, or the given ones."""
    if model.location is None or options.roi is not None:
        return False
    if options.boxes is not None:
        return True
    return options.locate == "auto" and bool(size_warning(geometry, model))


def bin_factors(spacing: Sequence[float]) -> list[int]:
    """How many voxels become one along each axis of the given spacing, before the image is searched."""
    return [max(1, int(_FINEST_MM / side)) for side in spacing]
