"""Detection of segments that were corrected by hand, so that no run overwrites the corrections."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import slicer
from mednext.segmentation.fingerprints import NOTHING, fingerprints

from .label_voxels import LabelVoxels
from .model_segments import is_a_copy, marks_of, model_structures, structure_of, values_in
from .shared_labelmaps import layers_of, voxels_of


def fingerprints_of(segmentation: slicer.vtkSegmentation, segment_ids: Collection[str]) -> dict[str, str]:
    """The fingerprints of these segments' present voxels."""
    found = dict.fromkeys(segment_ids, NOTHING)
    for image, sharing in layers_of(segmentation).items():
        wanted = {segmentation.GetSegment(each).GetLabelValue(): each for each in sharing if each in found}
        i, _, j, _, k, _ = image.GetExtent()
        marks = fingerprints(voxels_of(image), list(wanted), (k, j, i)) if wanted else {}
        found |= {wanted[value]: mark for value, mark in marks.items()}
    return found


def is_untouched(segmentation: slicer.vtkSegmentation, segment_id: str, now: str) -> bool:
    """Whether a segment with the fingerprint `now` still has the voxels that the run found."""
    return marks_of(segmentation.GetSegment(segment_id))[1] == now


def replaceable(segmentation: slicer.vtkSegmentation, with_corrected: bool) -> dict[str, str]:
    """The segments of models that a run may replace, with their fingerprints: those without corrections, or
    all if the user agrees. A segment from before there were fingerprints counts as corrected."""
    ours = [
        segment_id
        for segment_id in segmentation.GetSegmentIDs()
        if structure_of(segmentation.GetSegment(segment_id))
        and not is_a_copy(segmentation.GetSegment(segment_id), segment_id)
    ]
    marks = fingerprints_of(segmentation, ours)
    return {
        each: now for each, now in marks.items() if with_corrected or is_untouched(segmentation, each, now)
    }


def changed_since(
    segmentation: slicer.vtkSegmentation, before: Mapping[str, str], ids: Collection[str]
) -> list[str]:
    """The existing segments among these whose fingerprint differs from the one before."""
    present = [segment_id for segment_id in ids if segmentation.GetSegment(segment_id)]
    now = fingerprints_of(segmentation, present)
    return [segment_id for segment_id in present if before.get(segment_id) != now[segment_id]]


def corrected_segments(
    segmentation: slicer.vtkSegmentation, model: str, values: Collection[int]
) -> list[str]:
    """The names of the corrected segments that a run for these labels would replace."""
    ours = [
        each
        for structure, each in model_structures(segmentation, model).items()
        if values_in(structure) <= set(values)
    ]
    marks = fingerprints_of(segmentation, ours)
    return [
        segmentation.GetSegment(each).GetName()
        for each, now in marks.items()
        if not is_untouched(segmentation, each, now)
    ]


def fingerprint_of(voxels: LabelVoxels, value: int) -> str:
    """The fingerprint of the voxels with this value in a labelmap on the grid."""
    if value in voxels.fingerprints:
        return voxels.fingerprints[value]
    k, j, i = (axis.start for axis in voxels.box)
    return fingerprints(voxels.array, [value], (k, j, i))[value]
