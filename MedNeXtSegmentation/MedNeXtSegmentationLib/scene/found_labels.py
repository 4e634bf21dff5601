"""What a run has found, kept with its node for as long as this session lasts."""

from __future__ import annotations

import slicer
from mednext.segmentation.packed_labels import FoundLabels

_found: dict[str, tuple[slicer.vtkSegmentation, FoundLabels]] = {}  # by node ID


def keep_found(node: slicer.vtkMRMLSegmentationNode, found: FoundLabels | None) -> None:
    """Remember what the last run into a node has found; None for nothing known."""
    _found.pop(node.GetID(), None)
    if found:
        _found[node.GetID()] = (node.GetSegmentation(), found)


def found_of(node: slicer.vtkMRMLSegmentationNode) -> FoundLabels | None:
    """What the last run into a node has found; None when the scene was loaded or the node was copied."""
    segmentation, found = _found.get(node.GetID(), (None, None))
    return found if segmentation is node.GetSegmentation() else None


def forget_found() -> None:
    """Drop what is known of all nodes: their scene is gone."""
    _found.clear()
