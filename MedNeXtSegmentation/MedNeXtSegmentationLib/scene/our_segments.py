"""Which segments of a segmentation node a model has made: tags say so, whatever the user calls them."""

from __future__ import annotations

import slicer
import vtk
from mednext.segment_tags import ID_TAG, MODEL_TAG, VALUE_TAG, segment_tags

_REGION_TAG = "MedNeXtSegmentation.Region"


def mark_as_ours(
    segment: slicer.vtkSegment, segment_id: str, model: str, value: int, region: str = ""
) -> None:
    """Remember which label of which model a segment is. Tags are saved with the segmentation.

    region: in which voxels the structure was looked for, see `segmented_region.py`.
    """
    for tag, text in segment_tags(model, value, segment_id).items():
        segment.SetTag(tag, text)
    set_region(segment, region)


def set_region(segment: slicer.vtkSegment, region: str) -> None:
    """Remember in which voxels the structure was looked for; "" where nothing is known."""
    if region:
        segment.SetTag(_REGION_TAG, region)
    else:
        segment.RemoveTag(_REGION_TAG)


def region_of(segment: slicer.vtkSegment) -> str:
    """What `set_region` remembered."""
    return _tag(segment, _REGION_TAG)


def our_segments(segmentation: slicer.vtkSegmentation, model: str) -> dict[int, str]:
    """The segments of a model: label values and segment IDs, in the order of the segments."""
    found = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        value = label_value_of(segment)
        if value is not None and _tag(segment, MODEL_TAG) == model and _tag(segment, ID_TAG) == segment_id:
            found[value] = segment_id
    return found


def model_of(segment: slicer.vtkSegment) -> str:
    """The name of the model that made a segment or the segment that it was copied from; "" for others."""
    return _tag(segment, MODEL_TAG)


def label_value_of(segment: slicer.vtkSegment) -> int | None:
    """The model's label value. The segment's own may change when Slicer puts labelmaps together."""
    text = _tag(segment, VALUE_TAG)
    return int(text) if text.isdecimal() else None


def is_a_copy(segment: slicer.vtkSegment, segment_id: str) -> bool:
    """Whether a segment with our tags was copied from ours."""
    return bool(_tag(segment, ID_TAG)) and _tag(segment, ID_TAG) != segment_id


def _tag(segment: slicer.vtkSegment, name: str) -> str:
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""
