"""The nodes that the panel's choices name: a change of one may make a run possible, or no longer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..scene.volumes.voxel_sample import forget_sample

# A change of the voxels alone, or of a transform anywhere above a node, is no ModifiedEvent of the node.
_VOXELS = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
_TRANSFORM = slicer.vtkMRMLTransformableNode.TransformModifiedEvent


class WatchedNodes(VTKObservationMixin):
    """Hears of changes of some nodes, of their voxels and of the transforms above them.

    onChanged: is called with the node and the event; of voxels only when who writes them has ended, since VTK
        tells of an image that has another size before it has the voxels.
    """

    def __init__(self, onChanged: Callable[..., None]) -> None:
        VTKObservationMixin.__init__(self)
        self._onChanged = onChanged
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._waiting = False

    def watch(self, nodes: Iterable[slicer.vtkMRMLNode | None]) -> None:
        """Hear of these nodes from now on, and of no others."""
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
        forget_sample(node)  # also of voxels that were written through numpy, of which VTK knows nothing
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._tellOfVoxels)

    def _tellOfVoxels(self) -> None:
        self._waiting = False
        self._onChanged()
