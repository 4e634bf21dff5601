"""Which segments of a segmentation node a model has made: tags say so, whatever the user calls them."""

from __future__ import annotations

import slicer
import vtk
from mednext.segmentation.formats.segment_tags import (
    FINGERPRINT_TAG,
    ID_TAG,
    LABELS_TAG,
    MODEL_TAG,
    VALUE_TAG,
    segment_tags,
)

Structure = int | tuple[int, ...]  # the value of a label, or those of a region's labels

_REGION_TAG = "MedNeXtSegmentation.Region"


def tag_as_model_segment(
    segment: slicer.vtkSegment,
    segment_id: str,
    model: str,
    structure: Structure,
    region: str = "",
    fingerprint: str = "",
) -> None:
    """Remember which structure of which model a segment is. Tags are saved with the segmentation.

    region: in which voxels the structure was looked for, see `segmented_region.py`.
    fingerprint: of its voxels as they were found; "" for a segment that has corrections.
    """
    for tag, text in segment_tags(model, structure, segment_id, fingerprint).items():
        segment.SetTag(tag, text)
    set_region(segment, region)


def marks_of(segment: slicer.vtkSegment) -> tuple[str, str]:
    """In which voxels the structure was looked for, and the fingerprint of what was found."""
    return region_of(segment), _tag(segment, FINGERPRINT_TAG)


def set_marks(segment: slicer.vtkSegment, marks: tuple[str, str]) -> None:
    """Remember what `marks_of` tells."""
    set_region(segment, marks[0])
    segment.SetTag(FINGERPRINT_TAG, marks[1])


def set_region(segment: slicer.vtkSegment, region: str) -> None:
    """Remember in which voxels the structure was looked for; "" where nothing is known."""
    if region:
        segment.SetTag(_REGION_TAG, region)
    else:
        segment.RemoveTag(_REGION_TAG)


def region_of(segment: slicer.vtkSegment) -> str:
    """What `set_region` remembered."""
    return _tag(segment, _REGION_TAG)


def model_labels(segmentation: slicer.vtkSegmentation, model: str) -> dict[int, str]:
    """The segments of a model's labels: values and segment IDs, in the order of the segments."""
    ours = model_structures(segmentation, model)
    return {structure: segment_id for structure, segment_id in ours.items() if isinstance(structure, int)}


def model_structures(segmentation: slicer.vtkSegmentation, model: str) -> dict[Structure, str]:
    """The segments of a model's labels and regions: structures and segment IDs."""
    found: dict[Structure, str] = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        structure = structure_of(segment)
        if structure and _tag(segment, MODEL_TAG) == model and _tag(segment, ID_TAG) == segment_id:
            found[structure] = segment_id
    return found


def structure_of(segment: slicer.vtkSegment) -> Structure | None:
    """What a segment of a model is; None for others."""
    labels = _tag(segment, LABELS_TAG).split()
    if labels and all(each.isdecimal() for each in labels):
        return tuple(map(int, labels))
    return label_value_of(segment)


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
