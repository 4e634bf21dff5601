"""`qMRMLNodeComboBox`: the nodes of the real scene, filtered, in a combo box."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from slicer_contract.qt_classes import QtCore, QtWidgets

from .contract_class import contract_class, emit, parent_of
from .scene_watcher import SceneWatcher, observe_while_alive

FILTERING = (
    "nodeTypes",
    "noneEnabled",
    "showHidden",
    "showChildNodeTypes",
    "hideChildNodeTypes",
    "noneDisplay",
)


class qMRMLNodeComboBox(contract_class("qMRMLNodeComboBox")):
    """Selects no added node by itself, as in Slicer; its first row is "None" where that is allowed."""

    _defaults: ClassVar[dict[str, Any]] = {
        "showChildNodeTypes": True,
        "selectNodeUponCreation": True,
        "noneDisplay": "None",
        "addEnabled": True,
        "removeEnabled": True,
    }

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._combo_box = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box)
        self._scene: slicer.vtkMRMLScene | None = None
        self._watcher: SceneWatcher | None = None
        self._ids: list[str] = []
        self._observed: set[str] = set()
        self._attributes: list[tuple[str, str, Any]] = []
        self._type_labels: dict[str, str] = {}
        self._announced = ""
        self._requested: str | None = None
        self._combo_box.currentIndexChanged.connect(lambda _index: self._announce())
        self._combo_box.activated.connect(lambda _index: emit(self, "nodeActivated", self.currentNode()))
        self.setEnabled(False)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        if scene is self._scene:
            return
        if self._watcher:
            self._watcher.stop()
        self._scene = scene
        self._watcher = SceneWatcher(self, scene) if scene is not None else None
        self._fill()
        if self._requested is not None:
            self.setCurrentNodeID(self._requested)
            self._requested = None
        self.setEnabled(scene is not None)

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        node_id = self._get_currentNodeID()
        return self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str) -> None:
        if self._scene is None:
            self._requested = nodeID or ""
            return
        none_row = 0 if self.noneEnabled else -1
        self._combo_box.setCurrentIndex(self._combo_box.findData(nodeID) if nodeID else none_row)
        self._announce()

    def setCurrentNodeIndex(self, index: int) -> None:
        self._combo_box.setCurrentIndex(index + (1 if self.noneEnabled else 0))

    def _get_currentNodeID(self) -> str:
        return self._combo_box.currentData or ""

    def _set_currentNodeID(self, nodeID: str) -> None:
        self.setCurrentNodeID(nodeID)

    _get_currentNodeId, _set_currentNodeId = _get_currentNodeID, _set_currentNodeID

    def nodeCount(self) -> int:
        return len(self._ids)

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        self._attributes.append((nodeType, name, value))
        self._fill()

    def removeAttribute(self, nodeType: str, name: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (nodeType, name)]
        self._fill()

    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._type_labels[nodeType] = label

    def nodeTypeLabel(self, nodeType: str) -> str:
        return self._type_labels.get(nodeType, "")

    def addNode(self, nodeType: str | None = None) -> slicer.vtkMRMLNode:
        """As the user does with "Create new ...": the node gets the attributes that the filter asks for."""
        nodeType = nodeType or self.nodeTypes[0]
        base_name = self.baseName or nodeType.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(nodeType, self._scene.GenerateUniqueName(base_name))
        for filtered_type, name, value in self._attributes:
            if node.IsA(filtered_type):
                node.SetAttribute(name, "" if value is None else str(value))
        self._fill()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        emit(self, "nodeAddedByUser", node)
        return node

    def removeCurrentNode(self) -> None:
        if node := self.currentNode():
            self._scene.RemoveNode(node)

    def _property_changed(self, name: str) -> None:
        if name in FILTERING:
            self._fill()

    def _on_node_added(self, node: slicer.vtkMRMLNode) -> None:
        if not self._is_scene_busy():
            self._fill()
            if self._accepts(node):
                emit(self, "nodeAdded", node)

    def _on_node_removed(self, node: slicer.vtkMRMLNode) -> None:
        if node.GetID() in self._ids:
            emit(self, "nodeAboutToBeRemoved", node)
        if not self._is_scene_busy():
            self._fill(gone=node)

    def _on_scene_changed(self) -> None:
        if not self._is_scene_busy():
            self._fill()

    def _is_scene_busy(self) -> bool:
        # qMRMLSceneModel follows an import and the closing of a scene only at their end.
        return bool(self._scene.IsImporting() or self._scene.IsClosing())

    def _accepts(self, node: slicer.vtkMRMLNode) -> bool:
        class_name = node.GetClassName()
        if class_name in self.hideChildNodeTypes or (node.GetHideFromEditors() and not self.showHidden):
            return False
        if not any(node.IsA(t) if self.showChildNodeTypes else class_name == t for t in self.nodeTypes):
            return False
        return all(
            _has_attribute(node, name, value)
            for node_type, name, value in self._attributes
            if node.IsA(node_type)
        )

    def _accepted_nodes(self, gone: slicer.vtkMRMLNode | None) -> list[slicer.vtkMRMLNode]:
        if self._scene is None or self._is_scene_busy():
            return []
        node_types = self.nodeTypes
        if len(node_types) == 1:
            nodes = slicer.util.getNodesByClass(node_types[0], self._scene)
        else:
            nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if node is not gone and self._accepts(node)]

    def _fill(self, gone: slicer.vtkMRMLNode | None = None) -> None:
        """Show the nodes of the scene, and keep the current one where it is still there."""
        combo_box, was_empty, current = self._combo_box, not self._combo_box.count, self._get_currentNodeID()
        row_before = combo_box.currentIndex
        nodes = self._accepted_nodes(gone)
        self._ids = [node.GetID() for node in nodes]
        combo_box.blockSignals(True)
        combo_box.clear()
        if self.noneEnabled:
            combo_box.addItem(self.noneDisplay, "")
        for node in nodes:
            combo_box.addItem(node.GetName() or node.GetID(), node.GetID())
            self._follow_name(node)
        row = combo_box.findData(current) if current else -1
        # Like any QComboBox it goes to the row above when the current one is removed, and shows its first row
        # when it was empty, unless it has rows of actions.
        if current and gone is not None and gone.GetID() == current:
            row = row_before - 1
        elif row < 0 and (self.noneEnabled or (was_empty and nodes and not self._has_actions())):
            row = 0
        combo_box.setCurrentIndex(row)
        combo_box.blockSignals(False)
        self._announce()

    def _has_actions(self) -> bool:
        return self.addEnabled or self.editEnabled or self.removeEnabled or self.renameEnabled

    def _follow_name(self, node: slicer.vtkMRMLNode) -> None:
        if node.GetID() not in self._observed:
            self._observed.add(node.GetID())
            observe_while_alive(self, node, vtk.vtkCommand.ModifiedEvent, qMRMLNodeComboBox._on_node_modified)

    def _on_node_modified(self, node: slicer.vtkMRMLNode) -> None:
        row = self._combo_box.findData(node.GetID())
        if row >= 0 and self._combo_box.itemText(row) != node.GetName():
            self._combo_box.setItemText(row, node.GetName() or "")
            if row == self._combo_box.currentIndex:
                emit(self, "currentNodeRenamed", node.GetName())

    def _announce(self) -> None:
        node_id = self._get_currentNodeID()
        if node_id != self._announced:
            self._announced = node_id
            emit(self, "currentNodeChanged", self.currentNode())
            emit(self, "currentNodeIDChanged", node_id)


def _has_attribute(node: slicer.vtkMRMLNode, name: str, value: Any) -> bool:
    found = node.GetAttribute(name)
    return found is not None and (value in (None, "") or found == str(value))


class qMRMLCheckableNodeComboBox(contract_class("qMRMLCheckableNodeComboBox")):
    """Nodes with check marks."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._checked: set[str] = set()

    def checkedNodes(self) -> list[slicer.vtkMRMLNode]:
        return [self._scene.GetNodeByID(node_id) for node_id in self._ids if node_id in self._checked]

    def uncheckedNodes(self) -> list[slicer.vtkMRMLNode]:
        return [self._scene.GetNodeByID(node_id) for node_id in self._ids if node_id not in self._checked]

    def checkState(self, node: slicer.vtkMRMLNode) -> Any:
        return QtCore.Qt.Checked if node.GetID() in self._checked else QtCore.Qt.Unchecked

    def setCheckState(self, node: slicer.vtkMRMLNode, state: Any) -> None:
        change = self._checked.add if state == QtCore.Qt.Checked else self._checked.discard
        change(node.GetID())
        emit(self, "checkedNodesChanged")
