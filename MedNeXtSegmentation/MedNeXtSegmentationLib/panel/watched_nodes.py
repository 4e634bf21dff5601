"""The nodes that the panel's choices name: a change of one may make a run possible, or no longer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import slicer
import vtk
from slicer.util import VTKObservationMixin


class WatchedNodes(VTKObservationMixin):
    """Hears of changes of some nodes.

    onChanged: is called with the node and the event.
    """

    def __init__(self, onChanged: Callable[..., None]) -> None:
        VTKObservationMixin.__init__(self)
        self._onChanged = onChanged
        self._nodes: list[slicer.vtkMRMLNode] = []

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
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onChanged)
