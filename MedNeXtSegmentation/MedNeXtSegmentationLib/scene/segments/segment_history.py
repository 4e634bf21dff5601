"""Replacement of a model's segments beside other segments, with undo and redo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import slicer

from ..result_record import ResultRecord
from ..session_memory import SessionMemory
from .model_segments import marks_of, set_marks, structure_of
from .shared_labelmaps import LABELMAP, SURFACE, separate, without_voxels

_MOST_STATES = 10


@dataclass(frozen=True, eq=False)
class SegmentsState:
    """Earlier segments of a node by ID, None for an absent one, and the record of the result."""

    segments: Mapping[str, slicer.vtkSegment | None]
    record: ResultRecord


def put_segments(
    node: slicer.vtkMRMLSegmentationNode, segments: Mapping[str, slicer.vtkSegment | None]
) -> None:
    """Replace, add or (None) remove segments, and put the state before into the node's history.

    An existing segment gets new voxels, a label value, and tags of its region and fingerprint. Its name,
    colour, other tags, place in the list and display stay. Other segments are not touched, even if they share
    a labelmap with a replaced one.
    """
    before = exchange_segments(node, segments)
    history = _history_of(node)
    history.done.append(before)
    del history.done[:-_MOST_STATES]
    history.undone.clear()


def can_undo(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether there is a replacement to undo."""
    return bool(_history_of(node).done)


def can_redo(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether there is an undone replacement to redo."""
    return bool(_history_of(node).undone)


def undo(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Restore the segments before the last replacement; `redo` restores the present ones."""
    history = _history_of(node)
    history.undone.append(_restore(node, history.done.pop()))


def redo(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Restore the segments before the last `undo`."""
    history = _history_of(node)
    history.done.append(_restore(node, history.undone.pop()))


class _History:
    def __init__(self) -> None:
        self.done: list[SegmentsState] = []
        self.undone: list[SegmentsState] = []


_histories: SessionMemory[_History] = SessionMemory()


def _history_of(node: slicer.vtkMRMLSegmentationNode) -> _History:
    history = _histories.get(node)
    if history is None:
        history = _History()
        _histories.put(node, history)
    return history


def _restore(node: slicer.vtkMRMLSegmentationNode, state: SegmentsState) -> SegmentsState:
    """Restore a state and return the one before."""
    before = exchange_segments(node, state.segments)
    state.record.restore(node)
    return before


def exchange_segments(
    node: slicer.vtkMRMLSegmentationNode, segments: Mapping[str, slicer.vtkSegment | None]
) -> SegmentsState:
    """Do `put_segments` without the history, and return the state before."""
    segmentation = node.GetSegmentation()
    _save_for_editor(node)
    present = [segment_id for segment_id in segments if segmentation.GetSegment(segment_id)]
    separate(segmentation, present)
    copies = {segment_id: _copy(segmentation, segment_id) for segment_id in segments}
    before = SegmentsState(copies, ResultRecord.of(node))
    surfaces = segmentation.ContainsRepresentation(SURFACE)
    was_modifying = node.StartModify()
    try:
        for segment_id, segment in segments.items():
            _put(segmentation, segment_id, segment)
        if surfaces:
            segmentation.CreateRepresentation(SURFACE)  # of those that have none now
    finally:
        node.EndModify(was_modifying)
    _tell(segmentation, segments)
    return before


def _put(segmentation: slicer.vtkSegmentation, segment_id: str, new: slicer.vtkSegment | None) -> None:
    old = segmentation.GetSegment(segment_id)
    if new is None:
        if old is not None:
            segmentation.RemoveSegment(segment_id)
        return
    if old is None:
        segment = without_voxels(new)
        segment.AddRepresentation(LABELMAP, new.GetRepresentation(LABELMAP))
        segmentation.AddSegment(segment, segment_id)
        if isinstance(structure_of(segment), tuple):
            # In Slicer's export to a labelmap later segments win: labels must come after regions.
            segmentation.SetSegmentIndex(segment_id, 0)
        return
    old.AddRepresentation(LABELMAP, new.GetRepresentation(LABELMAP))
    old.SetLabelValue(new.GetLabelValue())
    set_marks(old, marks_of(new))
    old.RemoveAllRepresentations(LABELMAP)


def _copy(segmentation: slicer.vtkSegmentation, segment_id: str) -> slicer.vtkSegment | None:
    """A copy of a segment with the same labelmap, which leaves the segmentation and is not written again."""
    segment = segmentation.GetSegment(segment_id)
    if segment is None:
        return None
    copy = without_voxels(segment)
    copy.AddRepresentation(LABELMAP, segment.GetRepresentation(LABELMAP))
    return copy


def _tell(segmentation: slicer.vtkSegmentation, segment_ids: Iterable[str]) -> None:
    for segment_id in segment_ids:
        segmentation.InvokeEvent(slicer.vtkSegmentation.RepresentationModified, segment_id)


def _save_for_editor(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Save the state for the Segment Editor's own Undo if it shows this node."""
    panel = getattr(slicer.modules, "SegmentEditorWidget", None)
    if panel is not None and panel.editor.segmentationNode() is node:
        panel.editor.saveStateForUndo()
