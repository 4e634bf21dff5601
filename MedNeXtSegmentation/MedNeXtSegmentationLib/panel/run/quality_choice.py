"""The choice between time and accuracy: one row for it, and the single options under Advanced."""

from __future__ import annotations

from typing import Any

import slicer
from mednext.inference.options import CUSTOM, QUALITIES, STANDARD, Options
from mednext.model.description import Model
from slicer.i18n import tr as _

from ...settings import ALL_FOLDS
from ..lists import showRows
from ..parameter_node import MedNeXtSegmentationParameterNode

_STEPS = (0.75, 0.5, 0.25)
_USUAL_STEP = 0.5  # of models; the number of tiles in a large image grows with the third power


class QualityChoice:
    """The rows "Quality", "Folds" and "Overlap"; Slicer binds mirroring and precision to the parameter node.

    The parameter node has the single options alone. The row "Quality" shows the quality with these options,
    or "Custom", and writes the options of a chosen one.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._model: Model | None = None
        self._parameters: MedNeXtSegmentationParameterNode | None = None
        ui.qualityBox.connect("currentIndexChanged(int)", self._onQuality)
        ui.foldsBox.connect("currentIndexChanged(int)", self._onFolds)
        ui.overlapBox.connect("currentIndexChanged(int)", self._onOverlap)

    def show(self, model: Model | None, parameters: MedNeXtSegmentationParameterNode) -> None:
        """Show the options of the parameter node for a model."""
        self._model, self._parameters = model, parameters
        ui = self._ui
        for widget in (ui.qualityTitle, ui.qualityBox, ui.qualityLabel, ui.overlapLabel, ui.overlapBox):
            widget.visible = model is not None
        ui.foldsLabel.visible = ui.foldsBox.visible = model is not None and len(model.folds) > 1
        if model is None:
            return
        self._showQuality(self.quality)
        self._showFolds(model, parameters.folds)
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
        showRows(self._ui.qualityBox, [(_title(name), name) for name in names], quality)
        self._ui.qualityLabel.text = _measured(quality)

    def _showFolds(self, model: Model, chosen: str) -> None:
        rows = [(_("All {count} folds (best)").format(count=len(model.folds)), ALL_FOLDS)]
        rows += [(_("Fold {fold} only (fastest)").format(fold=f.index), str(f.index)) for f in model.folds]
        showRows(self._ui.foldsBox, rows, ALL_FOLDS if _foldsOf(model, chosen) is None else chosen)

    def _showOverlap(self, model: Model, step: float) -> None:
        steps = sorted({*_STEPS, *([step] if step else [])}, reverse=True)
        own = _("{overlap:.0%} (the model's)").format(overlap=1 - model.step)
        rows = [(own, 0.0), *((_("{overlap:.0%}").format(overlap=1 - each), each) for each in steps)]
        showRows(self._ui.overlapBox, rows, step)

    def _onQuality(self, index: int) -> None:
        self.apply(self._ui.qualityBox.itemData(index), self._model)

    def _onFolds(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.folds = self._ui.foldsBox.itemData(index)

    def _onOverlap(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.step = float(self._ui.overlapBox.itemData(index))


def networkOptions(model: Model, parameters: MedNeXtSegmentationParameterNode) -> dict[str, Any]:
    """The options that a quality sets, by their names."""
    return {
        "folds": _foldsOf(model, parameters.folds),
        "mirroring": parameters.mirroring,
        "step": parameters.step or None,
        "precision": parameters.precision,
    }


def _foldsOf(model: Model, chosen: str) -> tuple[int, ...] | None:
    """The folds to average; None for all, also if the model lacks the chosen one."""
    return next(((fold.index,) for fold in model.folds if str(fold.index) == chosen), None)


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
