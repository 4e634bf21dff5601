"""The section Output: segmentation node, structures, uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from mednext.errors import MedNeXtError
from mednext.model.description import Model
from mednext.model.labels import Label
from mednext.model.location import SIDES
from mednext.model.sides import value_offset
from mednext.system.shown_text import shown, tool_tip
from slicer.i18n import tr as _

from ...scene.result_record import images_of
from ...scene.segments.corrected_segments import corrected_segments
from ...scene.segments.model_segments import model_structures, values_in
from ...scene.segments.segmentation_grid import grid_in_segmentation
from ..parameter_node import MedNeXtSegmentationParameterNode

_MOST_ROWS = 8  # more than these scroll
_MOST_NAMES = 4


class OutputView:
    """The group "Output". Slicer binds the selector and the check box to the parameter node.

    onLeftOut: gets the label values of the omitted structures when the user changes them.
    """

    def __init__(self, ui: Any, onLeftOut: Callable[[list[int]], None]) -> None:
        self._ui = ui
        self._onLeftOut = onLeftOut
        self._labels: tuple[Label, ...] = ()
        self._showing = False
        ui.structuresButton.connect("toggled(bool)", self._unfold)
        ui.structuresList.connect("itemChanged(QListWidgetItem*)", self._onItem)
        ui.allStructuresButton.connect("clicked()", lambda: self._onLeftOut([]))
        ui.noStructuresButton.connect("clicked()", lambda: self._onLeftOut(self._values()))
        self._unfold(False)

    def show(
        self, model: Model | None, parameters: MedNeXtSegmentationParameterNode, allFrames: bool
    ) -> None:
        """Show the choices for this model, for one volume or for all frames of a sequence."""
        self._ui.outputGroup.visible = model is not None
        if model is None:
            return
        self._listStructures(model.labels)
        self._check(parameters.leftOut)
        several = len(model.labels) > 1
        self._ui.structuresLabel.visible = self._ui.structuresButton.visible = several
        self._unfold(self._ui.structuresButton.checked)
        wanted = wantedValues(model, parameters)
        node = parameters.segmentation
        self._ui.replacedLabel.visible = node is not None or allFrames
        if allFrames:
            self._ui.replacedLabel.text = _(
                "A new sequence of segmentations. Existing ones, with their corrections, stay as they are."
            )
        else:
            self._ui.replacedLabel.text = (
                shown(_replacement(node, model, _onBothSides(model, wanted))) if node else ""
            )

    def problem(
        self,
        model: Model,
        parameters: MedNeXtSegmentationParameterNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        allFrames: bool,
    ) -> str:
        """The reason why the chosen segmentation cannot take the result, or ""."""
        if not wantedValues(model, parameters):
            return _("Choose at least one structure.")
        if parameters.segmentation is not None and not allFrames:
            try:
                grid_in_segmentation(parameters.segmentation, volume)
            except MedNeXtError as error:
                return str(error)
        return ""

    def warnings(
        self, parameters: MedNeXtSegmentationParameterNode, volume: slicer.vtkMRMLScalarVolumeNode
    ) -> tuple[str, ...]:
        """A sentence if the chosen segmentation was made from other images than this one."""
        node = parameters.segmentation
        images = images_of(node) if node is not None else []
        if not images or volume in images:
            return ()
        told = _('"{segmentation}" was made from "{image}", and gets the result of "{volume}".')
        return (told.format(segmentation=node.GetName(), image=images[0].GetName(), volume=volume.GetName()),)

    def _values(self) -> list[int]:
        return [label.value for label in self._labels]

    def _listStructures(self, labels: Sequence[Label]) -> None:
        """Fill the list, unless it already shows these labels."""
        if tuple(labels) == self._labels:
            return
        self._labels = tuple(labels)
        structures = self._ui.structuresList
        self._showing = True
        structures.clear()
        for label in labels:
            item = qt.QListWidgetItem(shown(label.name))
            item.setToolTip(tool_tip(label.name))
            item.setData(qt.Qt.DecorationRole, qt.QColor(*label.color))
            item.setCheckState(qt.Qt.Checked)
            structures.addItem(item)
        self._showing = False
        rows = min(len(labels), _MOST_ROWS)
        structures.setFixedHeight(rows * max(structures.sizeHintForRow(0), 18) + 4)

    def _check(self, leftOut: Sequence[int]) -> None:
        self._showing = True
        for row, label in enumerate(self._labels):
            wanted = label.value not in leftOut
            self._ui.structuresList.item(row).setCheckState(qt.Qt.Checked if wanted else qt.Qt.Unchecked)
        self._showing = False
        total = len(self._labels)
        chosen = sum(label.value not in leftOut for label in self._labels)
        text = _("All {total}") if chosen == total else _("{chosen} of {total}")
        self._ui.structuresButton.text = text.format(chosen=chosen, total=total)

    def _onItem(self, _item: qt.QListWidgetItem) -> None:
        if self._showing:
            return
        rows = enumerate(self._labels)
        items = [(label, self._ui.structuresList.item(row)) for row, label in rows]
        self._onLeftOut([label.value for label, item in items if item.checkState() != qt.Qt.Checked])

    def _unfold(self, on: bool) -> None:
        self._ui.structuresWidget.visible = on and len(self._labels) > 1
        self._ui.structuresButton.arrowType = qt.Qt.DownArrow if on else qt.Qt.RightArrow


def wantedValues(model: Model, parameters: MedNeXtSegmentationParameterNode) -> list[int]:
    """The label values of the chosen structures."""
    return [label.value for label in model.labels if label.value not in parameters.leftOut]


def _onBothSides(model: Model, values: Sequence[int]) -> list[int]:
    """The values that segments of these structures may have, also those of a result with both sides."""
    if model.location is None:
        return list(values)
    return [*values, *(value + value_offset(model.labels, side) for side in SIDES for value in values)]


def mayReplaceCorrected(model: Model, parameters: MedNeXtSegmentationParameterNode) -> bool:
    """Ask whether corrected segments may be replaced; True if there are none."""
    segmentation = parameters.segmentation.GetSegmentation()
    wanted = _onBothSides(model, wantedValues(model, parameters))
    names = corrected_segments(segmentation, model.name, wanted)
    if not names:
        return True
    question = _(
        "These segments were corrected, or may have been corrected: {names}. Shall the new result replace "
        "them too? With No they stay as they are."
    )
    if parameters.roi is not None:
        question = _("{question} Voxels outside of the region always stay.").format(question=question)
    return slicer.util.confirmYesNoDisplay(
        tool_tip(question.format(names=", ".join(names))), windowTitle=_("Corrected segments")
    )


def _replacement(node: slicer.vtkMRMLSegmentationNode, model: Model, wanted: Sequence[int]) -> str:
    segmentation = node.GetSegmentation()
    names = [
        segmentation.GetSegment(segment_id).GetName()
        for structure, segment_id in model_structures(segmentation, model.name).items()
        if values_in(structure) <= set(wanted)
    ]
    if not names:
        return _("Nothing in it is replaced; the structures are added.")
    some = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        some = _("{names} and {more} more").format(names=some, more=len(names) - _MOST_NAMES)
    total = segmentation.GetNumberOfSegments()
    if len(names) == total:
        return _("Replaces all of its segments: {names}.").format(names=some)
    return _("Replaces {count} of its {total} segments: {names}. The others stay.").format(
        count=len(names), total=total, names=some
    )
