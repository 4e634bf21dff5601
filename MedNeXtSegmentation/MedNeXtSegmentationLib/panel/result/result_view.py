"""The section Result: a sentence, the volumes, Edit, Undo and Redo."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from mednext.errors import OutputError
from mednext.model.sides import ASYMMETRY
from mednext.system.shown_text import csv_cell, shown, tool_tip
from slicer.i18n import tr as _

from ...scene.result_record import images_of, provenance_of, volumes_of
from ...scene.segments.region_segments import follow_labels, show_segments, shown_regions
from ...scene.segments.segment_history import can_redo, can_undo, redo, undo
from ..lists import fitHeight
from ..messages import Messages
from .result_files import ResultFiles
from .uncertainty_view import UncertaintyView

_MOST_ROWS = 12  # more than these scroll


class ResultView:
    """The group "Result", hidden while there is none."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._volumes: dict[str, float] = {}
        self._hidden: list[str] = []  # regions hidden while their labels are edited
        self._messages = Messages(ui.resultStatusLabel, ui.resultErrorLabel)
        self._places = UncertaintyView(ui, self._messages)
        self.files = ResultFiles(ui, self._messages)
        header = ui.volumesTable.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        ui.volumesTable.verticalHeader().hide()
        ui.copyTableButton.connect("clicked()", self._copyTable)
        ui.statisticsButton.connect("clicked()", self._messages.guard(lambda: _openStatistics(self._node)))
        ui.editButton.connect("clicked()", self._edit)
        ui.undoButton.connect("clicked()", self._undo)
        ui.redoButton.connect("clicked()", self._redo)
        ui.resultGroup.visible = False

    def show(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show a result; None hides the group."""
        volumes = volumes_of(node) if node else {}
        if node is self._node and volumes == self._volumes:  # called at every change of a choice
            return
        self._node = node
        self._ui.resultGroup.visible = node is not None
        self._ui.show3DButton.setSegmentationNode(node)
        left_alone = provenance_of(node).get("left_alone") if node else None
        told = _("These segments were corrected and stay as they are: {names}.").format(names=left_alone)
        self._messages.say(told if left_alone else "")
        self.files.show(node)
        self._refresh()

    def followCorrections(self) -> None:
        """Rebuild the regions of the result after corrections of their labels, and show them again."""
        if self._node is not None and self._node.GetScene() is not None:
            follow_labels(self._node)
            show_segments(self._node, self._hidden, True)
        self._hidden = []

    def _refresh(self) -> None:
        """Show the present record of the node."""
        node = self._node
        self._places.show(node)
        if node is None:
            self._volumes = {}
            return
        volumes = self._volumes = volumes_of(node)  # of another frame, where a sequence is shown
        self._ui.resultLabel.text = shown(_sentence(node.GetName(), volumes))
        self._fillTable(node, volumes)
        self._ui.undoButton.visible = self._ui.redoButton.visible = can_undo(node) or can_redo(node)
        self._ui.undoButton.enabled = can_undo(node)
        self._ui.redoButton.enabled = can_redo(node)

    def _fillTable(self, node: slicer.vtkMRMLSegmentationNode, volumes: dict[str, float]) -> None:
        table = self._ui.volumesTable
        found = any(volumes.values())
        table.visible = self._ui.copyTableButton.visible = self._ui.statisticsButton.visible = found
        self._ui.show3DButton.enabled = found
        rows = [(_nameItem(node, name), _amount(volume)) for name, volume in volumes.items()]
        rows += [(qt.QTableWidgetItem(text), amount) for text, amount in _comparedSides(node)]
        table.setRowCount(len(rows))
        for row, (item, text) in enumerate(rows):
            amount = qt.QTableWidgetItem(text)
            amount.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(row, 0, item)
            table.setItem(row, 1, amount)
        fitHeight(table, _MOST_ROWS)

    def _copyTable(self) -> None:
        """Copy names and volumes in mL, separated by tabs, with four decimals."""
        lines = [_("Structure") + "\t" + _("Volume found (mL)"), *copied_rows(volumes_of(self._node))]
        qt.QApplication.clipboard().setText("\n".join(lines) + "\n")
        self._messages.say(_("Copied {count} rows.").format(count=len(lines) - 1))

    def _undo(self) -> None:
        undo(self._node)
        self._refresh()
        self._messages.say(_("Undone: the segments are as before the run."))

    def _redo(self) -> None:
        redo(self._node)
        self._refresh()
        self._messages.say(_("Redone: the segments are as after the run."))

    def _edit(self) -> None:
        """Open the node in the Segment Editor, with the segmented image."""
        node, image = self._node, next(iter(images_of(self._node)), None)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(node)
        self._hidden = shown_regions(node)
        if self._hidden:
            # Painting a label would erase the voxels from visible regions over it.
            show_segments(node, self._hidden, False)
            mode = slicer.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments
            editor.mrmlSegmentEditorNode().SetOverwriteMode(mode)
        if image:
            editor.setSourceVolumeNode(image)


def _openStatistics(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Show the module with this segmentation and its first image, and with a new table.

    A table that was chosen there before may hold the numbers of another segmentation.

    Raises `OutputError` when Slicer runs without the module.
    """
    module = getattr(slicer.modules, "segmentstatistics", None)
    if module is None:
        raise OutputError("Slicer's module Segment Statistics is not loaded: enable it in the settings.")
    slicer.util.selectModule("SegmentStatistics")
    widget = module.widgetRepresentation().self()
    widget.segmentationSelector.setCurrentNode(node)
    widget.scalarSelector.setCurrentNode(next(iter(images_of(node)), None))
    widget.outputTableSelector.setCurrentNode(None)


def _comparedSides(node: slicer.vtkMRMLSegmentationNode) -> list[tuple[str, str]]:
    """The row on the asymmetry of a result with both sides: its text and its amount."""
    difference = provenance_of(node).get(ASYMMETRY)
    return [(_("Left - right, of the mean"), f"{difference} %")] if difference else []


def copied_rows(volumes: dict[str, float]) -> list[str]:
    """Rows of name and volume in mL for a spreadsheet."""
    return [f"{csv_cell(name)}\t{volume:.4f}" for name, volume in volumes.items()]


def _sentence(name: str, volumes: dict[str, float]) -> str:
    found = sum(1 for volume in volumes.values() if volume)
    if not found:
        return _('No structure was found: "{name}" is empty.').format(name=name)
    return _('"{name}": {found} of {total} structures found.').format(
        name=name, found=found, total=len(volumes)
    )


def _amount(volume_ml: float) -> str:
    if not volume_ml:
        return _("not found")
    return _("< 0.01") if volume_ml < 0.005 else f"{volume_ml:.2f}"


def _nameItem(node: slicer.vtkMRMLSegmentationNode, name: str) -> qt.QTableWidgetItem:
    """A structure's name, with its colour if the node still has the segment."""
    item = qt.QTableWidgetItem(shown(name))
    item.setToolTip(tool_tip(name))
    segmentation = node.GetSegmentation()
    segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))
    if segment:
        color = qt.QColor(*(round(255 * channel) for channel in segment.GetColor()))
        item.setData(qt.Qt.DecorationRole, color)
    return item
