"""Tags of Slicer's segments that say which label of which model a segment is, whatever it is called."""

from __future__ import annotations

MODEL_TAG = "MedNeXtSegmentation.Model"
VALUE_TAG = "MedNeXtSegmentation.LabelValue"
ID_TAG = "MedNeXtSegmentation.SegmentID"


def segment_tags(model: str, value: int, segment_id: str) -> dict[str, str]:
    """The tags of a segment that a model made.

    The ID goes in too: a copy that the user makes has all tags and another ID, and is the user's own.
    """
    return {MODEL_TAG: model, VALUE_TAG: str(value), ID_TAG: segment_id}
