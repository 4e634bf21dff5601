"""The form for the import of another program's checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mednext.library.catalog import Task
from mednext.system.shown_text import shown
from slicer.i18n import tr as _

_ORIENTATIONS = ("RAS", "LAS", "LPS", "RPS", "RAI", "LAI", "LPI", "RPI")
_FROM_IMAGES = "images"
_MIRRORED = ("0,1,2", "0,1", "0,2", "1,2", "0", "1", "2")


class CheckpointForm:
    """The form, which is hidden until a checkpoint is chosen.

    onImport: gets the arguments of `mednext models import`.
    """

    def __init__(self, ui: Any, onImport: Callable[[Sequence[str]], None]) -> None:
        self._ui = ui
        self._onImport = onImport
        self._path = ""
        box = ui.checkpointOrientationBox
        box.addItem(_("As the checkpoint tells"), "")
        box.addItem(_("As in the training images"), _FROM_IMAGES)
        for code in _ORIENTATIONS:
            box.addItem(code, code)
        box.connect("currentIndexChanged(int)", lambda _index: self._showRows())
        ui.checkpointMirrorBox.addItem(_("As the checkpoint tells"), "")
        ui.checkpointMirrorBox.addItem(_("Not mirrored"), "none")
        for axes in _MIRRORED:
            ui.checkpointMirrorBox.addItem(
                _("Along the axes {axes}").format(axes=axes.replace(",", ", ")), axes
            )
        ui.checkpointTaskBox.connect("currentIndexChanged(int)", lambda _index: self._showRows())
        ui.importCheckpointButton.connect("clicked()", self._import)
        ui.closeCheckpointButton.connect("clicked()", self.close)
        self.close()

    def setTasks(self, tasks: Sequence[Task]) -> None:
        """Offer these tasks."""
        box = self._ui.checkpointTaskBox
        chosen = box.currentData
        box.clear()
        for task in tasks:
            box.addItem(shown(task.title), task.name)
        box.addItem(_("Another"), "")
        box.setCurrentIndex(max(0, box.findData(chosen) if chosen is not None else box.count - 1))

    def ask(self, path: str, task: str = "") -> None:
        """Open the form for a results folder of nnU-Net or a file of MONAI weights."""
        ui = self._ui
        self._path = path
        ui.checkpointLabel.text = shown(path)
        ui.checkpointNameEdit.text = _nameOf(path)
        ui.checkpointTaskBox.setCurrentIndex(ui.checkpointTaskBox.findData(task))
        ui.checkpointMirrorBox.setCurrentIndex(0)
        ui.checkpointGroup.visible = True
        self._showRows()

    def close(self) -> None:
        """Hide the form."""
        self._ui.checkpointGroup.visible = False

    def _showRows(self) -> None:
        ui = self._ui
        for visible, *widgets in (
            (not ui.checkpointTaskBox.currentData, ui.checkpointLabelsLabel, ui.checkpointLabelsEdit),
            (
                ui.checkpointOrientationBox.currentData == _FROM_IMAGES,
                ui.checkpointImagesLabel,
                ui.checkpointImagesEdit,
            ),
            (Path(self._path).is_file(), ui.checkpointDescriptionLabel, ui.checkpointDescriptionEdit),
        ):
            for widget in widgets:
                widget.visible = visible

    def _import(self) -> None:
        ui = self._ui
        orientation = ui.checkpointOrientationBox.currentData
        fromImages = orientation == _FROM_IMAGES
        task = ui.checkpointTaskBox.currentData
        options = {
            "--name": ui.checkpointNameEdit.text.strip(),
            "--task": task,
            "--labels": "" if task else ui.checkpointLabelsEdit.text.strip(),
            "--orientation": "" if fromImages else orientation,
            "--images": ui.checkpointImagesEdit.currentPath if fromImages else "",
            "--mirror-axes": ui.checkpointMirrorBox.currentData,
            "--description": ui.checkpointDescriptionEdit.currentPath if Path(self._path).is_file() else "",
        }
        given = [f"{option}={value}" for option, value in options.items() if value or option == "--name"]
        self._onImport(["models", "import", self._path, *given])


def _nameOf(path: str) -> str:
    """A valid model name that resembles the file's name."""
    name = Path(path).stem if Path(path).is_file() else Path(path).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64] or "model"
