"""The choice between time and accuracy: one row for it, and the single options under Advanced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from mednext.inference.options import CUSTOM, QUALITIES, STANDARD, Options
from mednext.model.description import Model
from slicer.i18n import tr as _

from ...settings import ALL_FOLDS
from ..parameter_node import MedNeXtSegmentationParameterNode
from .folds_choice import foldsOf

_STEPS = (0.75, 0.5, 0.25)
_USUAL_STEP = 0.5  # of models; the number of tiles in a large image grows with the third power


class QualityChoice:
    """The rows "Quality" and "Overlap"; Slicer binds mirroring and precision to the parameter node.

    The parameter node has the single options alone. The row "Quality" shows the quality with these options,
    or "Custom", and writes the options of a chosen one.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._model: Model | None = None
        self._parameters: MedNeXtSegmentationParameterNode | None = None
        ui.qualityBox.connect("currentIndexChanged(int)", self._onQuality)
        ui.overlapBox.connect("currentIndexChanged(int)", self._onOverlap)

    def show(self, model: Model | None, parameters: MedNeXtSegmentationParameterNode) -> None:
        """Show the options of the parameter node for a model."""
        self._model, self._parameters = model, parameters
        ui = self._ui
        for widget in (ui.qualityTitle, ui.qualityBox, ui.qualityLabel, ui.overlapLabel, ui.overlapBox):
            widget.visible = model is not None
        if model is None:
            return
        self._showQuality(self.quality)
        self._showOverlap(model, parameters.step)

    @property
    def quality(self) -> str:
        """The quality of the shown options, or `CUSTOM`."""
        if self._model is None or self._parameters is None:
            return CUSTOM
        return Options(**networkOptions(self._model, self._parameters)).quality_of(self._model)

    def apply(self, quality: str, model: Model | None) -> None:
        """Write the options of a quality for a model; `CUSTOM` writes nothing."""
        values = QUALITIES.get(quality)
        if values is None or model is None or self._parameters is None:
            return
        parameters = self._parameters
        with slicer.util.NodeModify(parameters.parameterNode):  # the panel updates once
            single = values.one_fold and len(model.folds) > 1
            parameters.folds = str(model.folds[0].index) if single else ALL_FOLDS
            parameters.mirroring = values.mirroring
            parameters.step = values.step or 0.0
            parameters.precision = values.precision

    def _showQuality(self, quality: str) -> None:
        names = [*QUALITIES, *([CUSTOM] if quality == CUSTOM else [])]
        _fill(self._ui.qualityBox, [(_title(name), name) for name in names], quality)
        self._ui.qualityLabel.text = _measured(quality)

    def _showOverlap(self, model: Model, step: float) -> None:
        steps = sorted({*_STEPS, *([step] if step else [])}, reverse=True)
        own = _("{overlap:.0%} (the model's)").format(overlap=1 - model.step)
        rows = [(own, 0.0), *((_("{overlap:.0%}").format(overlap=1 - each), each) for each in steps)]
        _fill(self._ui.overlapBox, rows, step)

    def _onQuality(self, index: int) -> None:
        self.apply(self._ui.qualityBox.itemData(index), self._model)

    def _onOverlap(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.step = float(self._ui.overlapBox.itemData(index))


def networkOptions(model: Model, parameters: MedNeXtSegmentationParameterNode) -> dict[str, Any]:
    """The options that a quality sets, by their names."""
    return {
        "folds": foldsOf(model, parameters.folds),
        "mirroring": parameters.mirroring,
        "step": parameters.step or None,
        "precision": parameters.precision,
    }


def _fill(box: Any, rows: Sequence[tuple[str, Any]], chosen: Any) -> None:
    """Show rows of text and data, one of them chosen, without telling that anything was chosen."""
    wasBlocked = box.blockSignals(True)
    box.clear()
    for text, data in rows:
        box.addItem(text, data)
    box.setCurrentIndex(box.findData(chosen))
    box.blockSignals(wasBlocked)


def _title(quality: str) -> str:
    names = {"fast": _("Fast"), STANDARD: _("Standard"), "best": _("Best"), CUSTOM: _("Custom")}
    return names[quality]


def _measured(quality: str) -> str:
    values = QUALITIES.get(quality)
    if values is None:
        return _("Options of your own, see Advanced.")
    dice = _("Hippocampus: mean Dice {dice:.3f}").format(dice=values.dice)
    if quality == STANDARD:
        return dice
    told = _("{dice}, {time:.0%} of Standard's time").format(dice=dice, time=values.time)
    most = (_USUAL_STEP / values.step) ** 3 if values.step else 1.0
    if most <= 1:
        return told
    return _("{told}; large images up to {most:.0f} times").format(told=told, most=most)
