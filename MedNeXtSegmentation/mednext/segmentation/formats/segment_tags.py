"""Tags of Slicer's segments that say which label of which model a segment is, whatever it is called."""

from __future__ import annotations

MODEL_TAG = "MedNeXtSegmentation.Model"
VALUE_TAG = "MedNeXtSegmentation.LabelValue"
LABELS_TAG = "MedNeXtSegmentation.Labels"  # of a region, instead of the label value
ID_TAG = "MedNeXtSegmentation.SegmentID"
FINGERPRINT_TAG = "MedNeXtSegmentation.Fingerprint"


def segment_tags(
    model: str, structure: int | tuple[int, ...], segment_id: str, fingerprint: str
) -> dict[str, str]:
    """The tags of a segment that a model made: of a label by its value, of a region by those of its labels.

    The ID goes in too: a copy that the user makes has all tags and another ID, and is the user's own. The
    fingerprint is that of the voxels as they were found.
    """
    what = {VALUE_TAG: str(structure)}
    if isinstance(structure, tuple):
        what = {LABELS_TAG: " ".join(map(str, structure))}
    return {MODEL_TAG: model, **what, ID_TAG: segment_id, FINGERPRINT_TAG: fingerprint}
