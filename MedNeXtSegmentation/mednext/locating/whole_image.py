"""Whether a run finds its boxes: known without torch, so that Slicer's panel can say so before."""

from __future__ import annotations

from ..images.geometry import Geometry
from ..inference.field_of_view import size_warning
from ..inference.options import Options
from ..model.description import Model


def wants_boxes(model: Model, geometry: Geometry, options: Options) -> bool:
    """Whether a run segments both sides in boxes: found ones in a whole image, or the given ones."""
    if model.location is None or options.roi is not None:
        return False
    if options.boxes is not None:
        return True
    return options.locate == "auto" and bool(size_warning(geometry, model))
