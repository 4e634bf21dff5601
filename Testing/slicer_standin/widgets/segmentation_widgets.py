"""Slicer's widgets for segmentations: the table of segments, Show 3D, and the Segment Editor's selectors."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
from slicer_contract.qt_classes import QtCore, QtGui, QtWidgets

from .contract_class import contract_class, emit, parent_of
from .scene_watcher import observe_while_alive

NAME_COLUMN = 2
CONTENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


class qMRMLSegmentsTableView(contract_class("qMRMLSegmentsTableView")):
    """Visibility, colour and name of the segments of a node."""

    _defaults: ClassVar[dict[str, Any]] = {
        "headerVisible": True,
        "visibilityColumnVisible": True,
        "colorColumnVisible": True,
        "opacityColumnVisible": True,
    }

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._observations: list[tuple[Any, int]] = []
        self._table = table = QtWidgets.QTableWidget(0, 3)
        table.setHorizontalHeaderLabels(["", "Color", "Name"])
        table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().hide()
        table.setColumnWidth(0, 24)
        table.setColumnWidth(1, 44)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(table)
        model = table.selectionModel()
        model.selectionChanged.connect(lambda new, old: emit(self, "selectionChanged", new, old))

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        self._node, self._observations = node, []
        if node is not None:
            segmentation = node.GetSegmentation()
            for name in CONTENT_EVENTS:
                event = getattr(slicer.vtkSegmentation, name)
                tag = observe_while_alive(self, segmentation, event, lambda view, _segmentation: view._fill())
                self._observations.append((segmentation, tag))
        self._fill()

    def displayedSegmentIDs(self) -> list[str]:
        return [self.segmentIDForRow(row) for row in range(self._table.rowCount)]

    def segmentIDForRow(self, row: int) -> str:
        item = self._table.item(row, NAME_COLUMN)
        return item.data(QtCore.Qt.UserRole) if item else ""

    def rowForSegmentID(self, segmentID: str) -> int:
        ids = self.displayedSegmentIDs()
        return ids.index(segmentID) if segmentID in ids else -1

    def selectedSegmentIDs(self) -> list[str]:
        return [self.segmentIDForRow(index.row()) for index in self._table.selectionModel().selectedRows()]

    def setSelectedSegmentIDs(self, segmentIDs: list[str]) -> None:
        self._table.clearSelection()
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.MultiSelection)
        for row in map(self.rowForSegmentID, segmentIDs):
            if row >= 0:
                self._table.selectRow(row)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.ExtendedSelection)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def tableWidget(self) -> Any:
        return self._table

    def _get_segmentCount(self) -> int:
        return self._table.rowCount

    def _property_changed(self, name: str) -> None:
        if name == "textFilter":
            self._fill()

    def _fill(self) -> None:
        selected, segment_ids = self.selectedSegmentIDs(), self._segment_ids()
        self._table.setRowCount(len(segment_ids))
        for row, segment_id in enumerate(segment_ids):
            for column, item in enumerate(_items(self._node, segment_id)):
                self._table.setItem(row, column, item)
        self.setSelectedSegmentIDs(selected)

    def _segment_ids(self) -> list[str]:
        if self._node is None:
            return []
        segmentation, wanted = self._node.GetSegmentation(), self.textFilter.lower()
        ids = segmentation.GetSegmentIDs()
        return [i for i in ids if wanted in segmentation.GetSegment(i).GetName().lower()]


def _items(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> tuple[Any, Any, Any]:
    segment, display = node.GetSegmentation().GetSegment(segment_id), node.GetDisplayNode()
    visible = display is None or display.GetSegmentVisibility(segment_id)
    visibility = QtWidgets.QTableWidgetItem("\N{FISHEYE}" if visible else "\N{WHITE CIRCLE}")
    color, name = QtWidgets.QTableWidgetItem(""), QtWidgets.QTableWidgetItem(segment.GetName())
    color.setBackground(QtGui.QColor.fromRgbF(*(min(1.0, max(0.0, c)) for c in segment.GetColor())))
    name.setData(QtCore.Qt.UserRole, segment_id)
    return visibility, color, name


class qMRMLSegmentationShow3DButton(contract_class("qMRMLSegmentationShow3DButton")):
    """Makes and removes the closed surfaces of a segmentation."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self.setText("Show 3D")
        self.setCheckable(True)
        self.toggled.connect(self._show_3d)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        self._node = node
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        self.blockSignals(True)
        self.setChecked(node is not None and node.GetSegmentation().ContainsRepresentation(surface))
        self.blockSignals(False)

    def _show_3d(self, on: bool) -> None:
        if self._node is None:
            return
        if on:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()


class qMRMLSegmentEditorWidget(contract_class("qMRMLSegmentEditorWidget")):
    """The Segment Editor: which segmentation and which volume it edits; there are no effects."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._editor_node: Any = None
        self._segmentation_node: Any = None
        self._source_volume_node: Any = None

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editor_node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._editor_node = node

    def segmentationNode(self) -> Any:
        return self._segmentation_node

    def setSegmentationNode(self, node: Any) -> None:
        self._segmentation_node = node
        if self._editor_node is not None:
            self._editor_node.SetAndObserveSegmentationNode(node)
        emit(self, "segmentationNodeChanged", node)

    def sourceVolumeNode(self) -> Any:
        return self._source_volume_node

    def setSourceVolumeNode(self, node: Any) -> None:
        self._source_volume_node = node
        if self._editor_node is not None:
            self._editor_node.SetAndObserveSourceVolumeNode(node)
        emit(self, "sourceVolumeNodeChanged", node)

    def currentSegmentID(self) -> str:
        return self._editor_node.GetSelectedSegmentID() or "" if self._editor_node is not None else ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        if self._editor_node is not None:
            self._editor_node.SetSelectedSegmentID(segmentID)
        emit(self, "currentSegmentIDChanged", segmentID)


class qMRMLSegmentSelectorWidget(contract_class("qMRMLSegmentSelectorWidget")):
    """A segmentation and one of its segments."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._nodes, self._segments = slicer.qMRMLNodeComboBox(), QtWidgets.QComboBox()
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodes)
        layout.addWidget(self._segments)
        self.connect("mrmlSceneChanged(vtkMRMLScene*)", self._nodes.setMRMLScene)
        self._nodes.currentNodeChanged.connect(self._on_node_changed)
        self._segments.currentIndexChanged.connect(
            lambda _index: emit(self, "currentSegmentChanged", self.currentSegmentID())
        )

    def _on_node_changed(self, node: Any) -> None:
        self._segments.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        for segment_id in segmentation.GetSegmentIDs() if segmentation else ():
            self._segments.addItem(segmentation.GetSegment(segment_id).GetName(), segment_id)
        emit(self, "currentNodeChanged", node)

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID: str) -> None:
        self._nodes.setCurrentNodeID(nodeID)

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._segments.setCurrentIndex(self._segments.findData(segmentID))
