"""Tags of Slicer's segments that record their model and label, independent of their names.

This file is apart from the writer of `.seg.nrrd`, so that Slicer's process need not import SimpleITK.
"""

from __future__ import annotations

MODEL_TAG = "MedNeXtSegmentation.Model"
VALUE_TAG = "MedNeXtSegmentation.LabelValue"
LABELS_TAG = "MedNeXtSegmentation.Labels"  # of a region, instead of the label value
ID_TAG = "MedNeXtSegmentation.SegmentID"
FINGERPRINT_TAG = "MedNeXtSegmentation.Fingerprint"


def segment_tags(
    model: str, structure: int | tuple[int, ...], segment_id: str, fingerprint: str
) -> dict[str, str]:
    """The tags of a segment that a model made; `structure` is a label's value or the values of a region.

    The tags repeat the ID: a copy made by the user has the same tags but another ID, and belongs to the user.
    The fingerprint is that of the voxels as the model found them.
    """
    meaning = {VALUE_TAG: str(structure)}
    if isinstance(structure, tuple):
        meaning = {LABELS_TAG: " ".join(map(str, structure))}
    return {MODEL_TAG: model, **meaning, ID_TAG: segment_id, FINGERPRINT_TAG: fingerprint}
