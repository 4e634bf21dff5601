"""Subject hierarchy items for nodes of the scene.

In the application a Qt plugin makes them (`qSlicerSubjectHierarchyPluginLogic::onNodeAdded`).
"""

from __future__ import annotations

import slicer
import vtk

CLASSES_WITH_ITEM = (
    "vtkMRMLDisplayableNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLSequenceNode",
    "vtkMRMLSequenceBrowserNode",
)


class ItemMaker:
    """Makes an item when a node enters the scene and removes it when the node leaves."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._on_node_added)
        scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, self._on_node_removed)
        scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, self._on_closed)

    def _on_closed(self, _caller: vtk.vtkObject, _event: str) -> None:
        """Make sure of a hierarchy, as `onSceneCloseEnded` does; the scene may point at the removed one."""
        if not self._scene.GetNumberOfNodesByClass("vtkMRMLSubjectHierarchyNode"):
            self._scene.AddNewNodeByClass("vtkMRMLSubjectHierarchyNode")

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, _caller: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if not self._has_item(node) or self._scene.IsImporting():
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        if hierarchy and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, _caller: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if not self._has_item(node) or self._scene.IsClosing():
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    @staticmethod
    def _has_item(node: slicer.vtkMRMLNode) -> bool:
        shown = not node.GetHideFromEditors() and not node.IsA("vtkMRMLCameraNode")
        return shown and any(node.IsA(name) for name in CLASSES_WITH_ITEM)
