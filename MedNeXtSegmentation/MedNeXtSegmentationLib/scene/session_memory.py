"""Values that a session keeps of segmentation nodes, and lets go when the nodes leave the scene.

A value often holds the node's voxels, directly or by its segmentation, which would outlive the node.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import slicer

Value = TypeVar("Value")


class SessionMemory(Generic[Value]):
    """A value for each node, as long as the node is in the scene with the same segmentation."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[slicer.vtkSegmentation, Value]] = {}
        self._observed = False

    def get(self, node: slicer.vtkMRMLSegmentationNode) -> Value | None:
        """The value of a node; None for a node that has none, or that was loaded or copied since."""
        segmentation, value = self._kept.get(node.GetID(), (None, None))
        return value if segmentation is node.GetSegmentation() else None  # an ID can be used again

    def put(self, node: slicer.vtkMRMLSegmentationNode, value: Value) -> None:
        """Keep a value."""
        if not self._observed:
            scene, self._observed = slicer.mrmlScene, True
            for event in (scene.NodeRemovedEvent, scene.EndCloseEvent):
                scene.AddObserver(event, self._forgetAbsent)
        self._kept[node.GetID()] = (node.GetSegmentation(), value)

    def forget(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Drop the value of a node."""
        self._kept.pop(node.GetID(), None)

    def _forgetAbsent(self, scene: slicer.vtkMRMLScene, _event: Any) -> None:
        for nodeID in [each for each in self._kept if scene.GetNodeByID(each) is None]:
            del self._kept[nodeID]
