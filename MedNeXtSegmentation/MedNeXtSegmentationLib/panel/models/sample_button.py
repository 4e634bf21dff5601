"""The button that loads an image to try the chosen model with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from mednext.system.shown_text import tool_tip
from slicer.i18n import tr as _

from ...sample_data import hasSample, loadSample
from .task_choices import TaskChoice


class SampleButton:
    """Visible for an installed model whose task has sample data in this Slicer.

    onLoaded: gets the loaded volume.
    onFailed: gets a sentence.
    """

    def __init__(
        self,
        ui: Any,
        onLoaded: Callable[[slicer.vtkMRMLScalarVolumeNode], None],
        onFailed: Callable[[str], None],
    ) -> None:
        self._ui = ui
        self._onLoaded = onLoaded
        self._onFailed = onFailed
        self._name = ""
        ui.sampleButton.connect("clicked()", self._load)

    def show(self, choice: TaskChoice | None) -> None:
        """Show the button for a choice, or hide it."""
        self._name = choice.task.sample if choice and choice.model and choice.task else ""
        self._ui.sampleButton.visible = bool(self._name) and hasSample(self._name)
        self._ui.sampleButton.toolTip = tool_tip(
            _("Download {name} of the module Sample Data, and choose it as image.").format(name=self._name)
        )

    def _load(self) -> None:
        volumes = loadSample(self._name)
        if volumes:
            self._onLoaded(volumes[0])
        else:
            self._onFailed(
                _("The sample data could not be downloaded. Check the network connection, and try again.")
            )
