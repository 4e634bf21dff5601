"""The region of an image that a run has segmented: outside of it an empty voxel means nothing.

Each segment has the region as a tag, since a later run may replace only some segments. The tag counts voxels,
which stay the same when a transform is hardened.
"""

from __future__ import annotations

import re

import slicer
from mednext.errors import OptionError
from mednext.images.geometry import Box, Roi
from mednext.segmentation.result import Described

from .model_segments import model_labels, region_of

_ROUNDED_MM = 1e-3  # provenance keeps six digits: a voxel at the very edge is left out
_SEPARATOR = " of "
_TEXT = re.compile(rf"(?:\d{{1,6}} ){{6}}{_SEPARATOR.strip()}(?: \d{{1,6}}){{3}}", re.ASCII)


def region_text(segmentation: Described) -> str:
    """The text of the tag: first and last voxel along k, j, i, and the size of the image."""
    corners = [float(mm) for mm in segmentation.provenance.get("roi_ras_mm", "").split()]
    shape = segmentation.geometry.shape
    box: Box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    if corners:
        lower = tuple(mm + _ROUNDED_MM for mm in corners[:3])
        upper = tuple(mm - _ROUNDED_MM for mm in corners[3:])
        box = Roi(lower, upper).box_in(segmentation.geometry)
    sides = " ".join(f"{side.start} {side.stop - 1}" for side in box)
    return sides + _SEPARATOR + " ".join(map(str, shape))


def segmented_region(
    node: slicer.vtkMRMLSegmentationNode, model: str, volume: slicer.vtkMRMLScalarVolumeNode
) -> Box | None:
    """The box `(Z, Y, X)` of the volume that was segmented; None if the segments have no such tag.

    Raises `OptionError` when the segments come from runs of different regions, or of another image.
    """
    segmentation = node.GetSegmentation()
    ours = model_labels(segmentation, model).values()
    regions = {region_of(segmentation.GetSegment(segment_id)) for segment_id in ours} - {""}
    if not regions:
        return None
    if len(regions) > 1:
        raise OptionError(
            f'The segments of "{node.GetName()}" come from runs of different regions, and structures outside '
            "of one region would be taught as background: segment all structures in one run."
        )
    text = regions.pop()
    sound = _TEXT.fullmatch(text)  # anybody may have changed the tag
    numbers = tuple(map(int, text.replace(_SEPARATOR, " ").split())) if sound else (0,) * 9
    box = tuple(slice(first, last + 1) for first, last in zip(numbers[:6:2], numbers[1:6:2], strict=True))
    shape = tuple(reversed(volume.GetImageData().GetDimensions()))
    if numbers[6:] != shape or any(
        not 0 <= each.start < each.stop <= n for each, n in zip(box, shape, strict=True)
    ):
        raise OptionError(
            f'"{volume.GetName()}" has another size than the image that was segmented: segment it again.'
        )
    k, j, i = box
    return k, j, i
