"""Observation of the chosen nodes, since a change of one may make a run possible or impossible."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..scene.volumes.voxel_sample import forget_sample

# Changes of the voxels, or of a transform anywhere above a node, cause no ModifiedEvent of the node.
_VOXELS = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
_TRANSFORM = slicer.vtkMRMLTransformableNode.TransformModifiedEvent


class WatchedNodes(VTKObservationMixin):
    """Observes some nodes, their voxels and the transforms above them.

    onChanged: is called with the node and the event. After a change of voxels it is called later without
        arguments, since VTK reports a new size before the voxels are written.
    """

    def __init__(self, onChanged: Callable[..., None]) -> None:
        VTKObservationMixin.__init__(self)
        self._onChanged = onChanged
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._waiting = False

    def watch(self, nodes: Iterable[slicer.vtkMRMLNode | None]) -> None:
        """Observe these nodes from now on, and no others."""
        wanted: list[slicer.vtkMRMLNode] = []
        for node in nodes:
            if node is not None and node not in wanted:
                wanted.append(node)
        if wanted == self._nodes:
            return
        self.removeObservers()
        self._nodes = wanted
        for node in wanted:
            for event in (vtk.vtkCommand.ModifiedEvent, _TRANSFORM):
                self.addObserver(node, event, self._onChanged)
            self.addObserver(node, _VOXELS, self._onVoxels)

    def _onVoxels(self, node: slicer.vtkMRMLVolumeNode, _event: str) -> None:
        forget_sample(node)  # VTK does not notice voxels written through numpy
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._tellOfVoxels)

    def _tellOfVoxels(self) -> None:
        self._waiting = False
        self._onChanged()
