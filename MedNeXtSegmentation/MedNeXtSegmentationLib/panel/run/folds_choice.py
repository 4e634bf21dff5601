"""The choice of folds, for a model with several of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mednext.model.description import Model
from slicer.i18n import tr as _

from ...settings import ALL_FOLDS


class FoldsChoice:
    """The row "Folds" of the advanced options.

    onChosen: gets "all", or the number of a fold.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], None]) -> None:
        self._ui = ui
        self._onChosen = onChosen
        self._folds: tuple[int, ...] = ()
        ui.foldsBox.connect("currentIndexChanged(int)", self._chosen)
        self.show(None, ALL_FOLDS)

    def show(self, model: Model | None, chosen: str) -> None:
        """Show the folds of a model and the choice among them."""
        box = self._ui.foldsBox
        folds = tuple(fold.index for fold in model.folds) if model else ()
        self._ui.foldsLabel.visible = box.visible = len(folds) > 1
        wasBlocked = box.blockSignals(True)
        if folds != self._folds:
            self._folds = folds
            box.clear()
            box.addItem(_("All {count} folds (best)").format(count=len(folds)), ALL_FOLDS)
            for fold in folds:
                box.addItem(_("Fold {fold} only (fastest)").format(fold=fold), str(fold))
        box.setCurrentIndex(max(0, box.findData(chosen)))
        box.blockSignals(wasBlocked)

    def _chosen(self, index: int) -> None:
        self._onChosen(self._ui.foldsBox.itemData(index))


def foldsOf(model: Model, chosen: str) -> tuple[int, ...] | None:
    """The folds to average; None for all, also if the model lacks the chosen one."""
    return next(((fold.index,) for fold in model.folds if str(fold.index) == chosen), None)
