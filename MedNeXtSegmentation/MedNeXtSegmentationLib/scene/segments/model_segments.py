"""Segments that a model made: tags name their model and structure, whatever the user calls them."""

from __future__ import annotations

import slicer
import vtk
from mednext.model.labels import MAX_LABEL
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
    """Tag a segment with its model and structure. Tags are saved with the segmentation.

    region: the segmented region, see `segmented_region.py`.
    fingerprint: of its voxels; "" for a segment with corrections.
    """
    for tag, text in segment_tags(model, structure, segment_id, fingerprint).items():
        segment.SetTag(tag, text)
    set_region(segment, region)


def marks_of(segment: slicer.vtkSegment) -> tuple[str, str]:
    """The tags of the segmented region and of the fingerprint."""
    return region_of(segment), _tag(segment, FINGERPRINT_TAG)


def set_marks(segment: slicer.vtkSegment, marks: tuple[str, str]) -> None:
    """Set the tags that `marks_of` returns."""
    set_region(segment, marks[0])
    segment.SetTag(FINGERPRINT_TAG, marks[1])


def set_region(segment: slicer.vtkSegment, region: str) -> None:
    """Tag a segment with its segmented region; "" for an unknown one."""
    if region:
        segment.SetTag(_REGION_TAG, region)
    else:
        segment.RemoveTag(_REGION_TAG)


def region_of(segment: slicer.vtkSegment) -> str:
    """The tag of the segmented region; "" without one."""
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


def structures_of_models(segmentation: slicer.vtkSegmentation) -> list[dict[Structure, str]]:
    """The `model_structures` of each model that has made segments, in the order of the models' names."""
    models = {model_of(segmentation.GetSegment(each)) for each in segmentation.GetSegmentIDs()} - {""}
    return [model_structures(segmentation, model) for model in sorted(models)]


def values_in(structure: Structure) -> set[int]:
    """The label value of a label, or those of a region's labels."""
    return set(structure) if isinstance(structure, tuple) else {structure}


def structure_of(segment: slicer.vtkSegment) -> Structure | None:
    """The structure of a model's segment; None for other segments."""
    labels = _tag(segment, LABELS_TAG).split()
    if labels and all(map(_is_value, labels)):
        return tuple(map(int, labels))
    return label_value_of(segment)


def model_of(segment: slicer.vtkSegment) -> str:
    """The name of the model that made a segment or the segment that it was copied from; "" for others."""
    return _tag(segment, MODEL_TAG)


def label_value_of(segment: slicer.vtkSegment) -> int | None:
    """The model's label value. The segment's own changes when Slicer merges labelmaps."""
    text = _tag(segment, VALUE_TAG)
    return int(text) if _is_value(text) else None


def _is_value(text: str) -> bool:
    """Whether a tag, which anybody may have changed, has a label value."""
    return text.isdecimal() and len(text) <= len(str(MAX_LABEL)) and int(text) <= MAX_LABEL


def is_a_copy(segment: slicer.vtkSegment, segment_id: str) -> bool:
    """Whether a segment is a copy of a model's segment: its tags name another ID."""
    return bool(_tag(segment, ID_TAG)) and _tag(segment, ID_TAG) != segment_id


def _tag(segment: slicer.vtkSegment, name: str) -> str:
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""
