"""Observers on the scene that never outlive their widget."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import slicer
import vtk
from slicer_contract.qt_classes import shiboken6


class FollowsScene(Protocol):
    """The reactions of a widget to changes of the scene."""

    def _on_node_added(self, node: slicer.vtkMRMLNode) -> None: ...
    def _on_node_removed(self, node: slicer.vtkMRMLNode) -> None: ...
    def _on_scene_changed(self) -> None: ...


class SceneWatcher:
    """Tells a widget of nodes that were added or go, and of the end of batches, imports and closing."""

    def __init__(self, widget: FollowsScene, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._widget = weakref.ref(widget)
        events = slicer.vtkMRMLScene
        self._tags = [
            scene.AddObserver(events.NodeAddedEvent, self._on_node_added),
            scene.AddObserver(events.NodeAboutToBeRemovedEvent, self._on_node_removed),
        ]
        for event in (events.EndCloseEvent, events.EndBatchProcessEvent, events.EndImportEvent):
            self._tags.append(scene.AddObserver(event, self._on_scene_changed))

    def stop(self) -> None:
        """Watch no more."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, _caller: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if widget := _alive(self._widget):
            widget._on_node_added(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, _caller: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if widget := _alive(self._widget):
            widget._on_node_removed(node)

    def _on_scene_changed(self, _caller: vtk.vtkObject, _event: str) -> None:
        if widget := _alive(self._widget):
            widget._on_scene_changed()


def observe_while_alive(
    widget: Any, observed: vtk.vtkObject, event: int, react: Callable[[Any, Any], None]
) -> int:
    """Call `react(widget, observed)` at every event until the widget is gone; the observer's tag."""
    reference = weakref.ref(widget)

    def on_event(caller: vtk.vtkObject, _event: str) -> None:
        if alive := _alive(reference):
            react(alive, caller)

    return observed.AddObserver(event, on_event)


def _alive(reference: weakref.ref[Any]) -> Any:
    widget = reference()
    return widget if widget is not None and shiboken6.isValid(widget) else None
