"""Several images at once, chosen in the subject hierarchy or in the DICOM module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from mednext.errors import MedNeXtError
from mednext.model.description import Model
from mednext.system.shown_text import shown
from slicer.i18n import tr as _

from ...batch.chosen_volumes import loadedSeries, selectedSeries
from ...batch.scene_batch import SceneResult
from ...batch.scene_cases import SceneCase, Volume, casesOfScene
from .input_checks import Checks

_MOST_NAMES = 6


class ChosenImages:
    """The part of the group "Images" for several images; without them it only offers those of DICOM.

    onChanged: is called when the user chose other images.
    """

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._onChanged = onChanged
        self._volumes: list[Volume] = []
        ui.oneImageButton.connect("clicked()", lambda: self.choose([]))
        ui.dicomSeriesButton.connect("clicked()", self._onSeries)

    def choose(self, volumes: Sequence[Volume]) -> None:
        """Take these images instead of the single one; none leads back to it."""
        self._volumes = list(volumes)
        self._onChanged()

    def forget(self) -> None:
        """Let go of the images before their scene is closed."""
        self._volumes = []

    @property
    def volumes(self) -> list[Volume]:
        """The images that are still in the scene."""
        return [volume for volume in self._volumes if volume.GetScene() is not None]

    def show(self, model: Model | None) -> None:
        """Show the images as the cases of a model."""
        ui, volumes, series = self._ui, self.volumes, selectedSeries()
        ui.chosenLabel.visible = ui.oneImageButton.visible = bool(volumes)
        ui.dicomSeriesButton.visible = bool(series)
        ui.dicomSeriesButton.text = _("Take the series selected in DICOM ({count})").format(count=len(series))
        ui.Chosen.visible = bool(volumes or series)  # an empty section would leave a gap
        if volumes:
            ui.chosenLabel.text = shown(self._sentence(model))

    def checks(self, model: Model) -> Checks:
        """The images that are left out, and whether any is to be segmented; the run checks each image."""
        cases = self._cases(model)
        left = [each for each in cases if not each.volumes]
        told = [_("{name}: {why}").format(name=each.case.source, why=_why(each)) for each in left]
        return Checks(" ".join(told)) if len(left) == len(cases) else Checks(warnings=tuple(told))

    def _cases(self, model: Model) -> list[SceneCase]:
        return casesOfScene(slicer.mrmlScene, model, chosen=self.volumes)

    def _sentence(self, model: Model | None) -> str:
        if model is None:
            names = [volume.GetName() for volume in self.volumes]
        else:
            names = [each.case.source for each in self._cases(model) if each.volumes]
        some = ", ".join(names[:_MOST_NAMES])
        if len(names) > _MOST_NAMES:
            some = _("{names} and {more} more").format(names=some, more=len(names) - _MOST_NAMES)
        return _("{count} in one go: {names}").format(count=len(names), names=some)

    def _onSeries(self) -> None:
        self.choose(loadedSeries(selectedSeries()))


def _why(each: SceneCase) -> str:
    problem = each.case.problem
    return str(problem) if isinstance(problem, MedNeXtError) else each.case.left_out


def outcomeOf(results: Sequence[SceneResult]) -> str:
    """A sentence on the results, with the reasons of failures."""
    done = [result for result in results if result.segmentationNode is not None]
    text = _("{done} of {total} are segmented.").format(done=len(done), total=len(results))
    reasons = [
        _("{name}: {why}").format(name=result.row.files or result.row.case, why=result.row.message)
        for result in results
        if result.segmentationNode is None
    ]
    return " ".join([text, *reasons])
