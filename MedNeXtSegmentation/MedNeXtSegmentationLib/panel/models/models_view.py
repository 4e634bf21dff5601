"""The section Models: list, import, export and removal of installed models, and their folder."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from mednext.errors import OutputError
from mednext.system.shown_text import shown, tool_tip
from slicer.i18n import tr as _

from ... import settings
from ...models_folder import changeModelsFolder, isSetOutside
from ..lists import fitHeight
from .checkpoint_form import CheckpointForm
from .command_view import CommandView
from .task_card import sizeText
from .task_choices import TaskChoice

_MOST_ROWS = 8  # more than these scroll
_NO_NAME = re.compile(r"[^A-Za-z0-9._+-]")
_CHECKPOINT_FILES = (".pt", ".pth", ".ckpt", ".model", ".safetensors")


class ModelsView:
    """Manages the installed models.

    onChanged: gets the name of a newly installed model, or None after another change.
    """

    def __init__(self, ui: Any, onChanged: Callable[[str | None], None]) -> None:
        self._ui = ui
        self._onChanged = onChanged
        self._installed: list[TaskChoice] = []
        self.command = CommandView(ui, "models", self._update)
        self.checkpointForm = CheckpointForm(ui, self._examineCheckpoint, self._importCheckpoint)
        header = ui.modelsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.highlightSections = False
        ui.modelsTable.verticalHeader().hide()
        ui.modelsTable.connect("itemSelectionChanged()", self._update)
        for button, slot in (
            (ui.importFileButton, self._importFile),
            (ui.importFolderButton, self._importFolder),
            (ui.exportModelButton, self._export),
            (ui.removeModelButton, self._remove),
            (ui.refreshButton, self._refresh),
            (ui.cleanButton, self._clean),
            (ui.chooseFolderButton, self._chooseFolder),
            (ui.defaultFolderButton, lambda: self._changeFolder("")),
        ):
            button.connect("clicked()", slot)

    def show(self, choices: Sequence[TaskChoice]) -> None:
        """Show the installed models of these choices, and the folder."""
        installed = [choice for choice in choices if choice.model]
        if installed != self._installed:
            self._installed = installed
            self._fillTable()
        self.checkpointForm.setTasks(list({c.task.name: c.task for c in choices if c.task}.values()))
        self._update()

    def askForCheckpoint(self, task: str) -> None:
        """Open the section, and ask for a folder with weights of a task."""
        self._ui.modelsButton.collapsed = False
        self._importFolder(task)

    def _fillTable(self) -> None:
        table = self._ui.modelsTable
        table.setRowCount(len(self._installed))
        for row, choice in enumerate(self._installed):
            texts = (choice.name, choice.model.version, choice.model.task, sizeText(choice.bytes))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(shown(text))
                item.setToolTip(tool_tip(_tooltip(choice)))
                table.setItem(row, column, item)
        table.clearSelection()
        fitHeight(table, _MOST_ROWS)

    def _selected(self) -> TaskChoice | None:
        row = self._ui.modelsTable.currentRow()
        isSelected = bool(self._ui.modelsTable.selectedItems())
        return self._installed[row] if isSelected and row < len(self._installed) else None

    def _update(self) -> None:
        from mednext.library.catalog_source import URL_VARIABLE
        from mednext.library.kept_downloads import downloads_folder, kept_downloads
        from mednext.library.store import models_folder

        ui, selected, running = self._ui, self._selected(), self.command.running
        for button in (ui.importFileButton, ui.importFolderButton, ui.refreshButton):
            button.enabled = not running
        ui.exportModelButton.enabled = bool(selected) and not running
        ui.removeModelButton.enabled = bool(selected) and not running and not selected.shipped
        ui.removeModelButton.toolTip = (
            _("This model comes with the extension and cannot be removed.")
            if selected and selected.shipped
            else _("Delete the chosen model from this computer.")
        )
        ui.refreshButton.visible = bool(os.environ.get(URL_VARIABLE))
        kept = sum(each.bytes for each in kept_downloads())
        ui.cleanButton.visible = kept > 0
        ui.cleanButton.enabled = not running
        ui.cleanButton.text = _("Remove unfinished downloads ({size})").format(size=sizeText(kept))
        ui.cleanButton.toolTip = tool_tip(
            _("Unfinished downloads in {folder}, which a later download resumes.").format(
                folder=downloads_folder()
            )
        )
        ui.modelsFolderEdit.text = shown(models_folder())
        ui.modelsFolderEdit.toolTip = tool_tip(models_folder())
        ui.folderVariableLabel.visible = isSetOutside()
        ui.chooseFolderButton.visible = not isSetOutside()
        ui.chooseFolderButton.enabled = not running
        ui.defaultFolderButton.visible = not isSetOutside()
        ui.defaultFolderButton.enabled = bool(settings.MODELS_FOLDER.get()) and not running
        self.checkpointForm.update(running)

    def _importFile(self) -> None:
        path = qt.QFileDialog.getOpenFileName(
            self._ui.modelsButton,
            _("Import a model"),
            "",
            _("Models (*.zip)") + ";;" + _("Weights (*.pt *.pth *.ckpt *.model *.safetensors)"),
        )
        if path and (Path(path).suffix.lower() in _CHECKPOINT_FILES or _isTraining(path)):
            self.checkpointForm.ask(path)
        elif path:
            self._install(path)

    def _importFolder(self, task: str = "") -> None:
        path = qt.QFileDialog.getExistingDirectory(self._ui.modelsButton, _("Import a model"), "")
        if path and (Path(path) / "model.json").is_file():
            self._install(path)
        elif path:
            self.checkpointForm.ask(path, task)

    def _install(self, path: str) -> None:
        self.command.start(
            "models", "install", path, stage=_("Checking and installing"), onDone=self._installedOne
        )

    def _examineCheckpoint(
        self, arguments: Sequence[str], onReport: Callable[[dict[str, Any]], None]
    ) -> None:
        self.command.abandon()  # an examination of other answers
        self.command.start(*arguments, stage=_("Reading the checkpoint"), onDone=onReport)

    def _importCheckpoint(self, arguments: Sequence[str]) -> None:
        self.command.start(*arguments, stage=_("Reading the checkpoint"), onDone=self._installedOne)

    def _installedOne(self, document: dict[str, Any]) -> None:
        self.checkpointForm.close()
        model = document["model"]
        self.command.say(
            _('"{name}", version {version}, was installed.').format(
                name=model["name"], version=model["version"]
            )
        )
        self._onChanged(model["name"])

    def _export(self) -> None:
        choice = self._selected()
        version = _NO_NAME.sub("_", choice.model.version)
        proposed = f"{choice.name}-{version}.zip"
        path = qt.QFileDialog.getSaveFileName(
            self._ui.modelsButton, _("Export a model"), proposed, _("Models (*.zip)")
        )
        if not path:
            return
        path = path if path.lower().endswith(".zip") else f"{path}.zip"
        self.command.start(
            "models",
            "export",
            choice.name,
            path,
            "--overwrite",  # the file dialog has asked
            stage=_("Packing"),
            onDone=lambda document: self.command.say(_("Exported to {file}.").format(file=document["file"])),
        )

    def _remove(self) -> None:
        choice = self._selected()
        question = _('Remove the model "{name}" ({size}) from this computer?').format(
            name=choice.name, size=sizeText(choice.bytes)
        )
        if slicer.util.confirmYesNoDisplay(tool_tip(question), windowTitle=_("Remove a model")):
            self.command.start("models", "remove", choice.name, stage=_("Removing"), onDone=self._removedOne)

    def _removedOne(self, document: dict[str, Any]) -> None:
        self.command.say(_('"{name}" was removed.').format(name=document["removed"]))
        self._onChanged(None)

    def _refresh(self) -> None:
        self.command.start("models", "list", stage=_("Asking for new models"), onDone=self._refreshed)

    def _refreshed(self, document: dict[str, Any]) -> None:
        count = len({name for task in document["tasks"] for name in task["published"]})
        said = [_("Published models: {count}.").format(count=count), *document["remarks"]]
        self.command.say("\n".join(said))
        self._onChanged(None)

    def _clean(self) -> None:
        self.command.start("models", "clean", stage=_("Removing unfinished downloads"), onDone=self._cleaned)

    def _cleaned(self, document: dict[str, Any]) -> None:
        freed = _("{size} of unfinished downloads were removed.").format(
            size=sizeText(document["freed_bytes"])
        )
        still = _("Running downloads were left alone.") if document["left"] else ""
        self.command.say(f"{freed} {still}".strip())
        self._onChanged(None)

    def _chooseFolder(self) -> None:
        from mednext.library.store import models_folder

        folder = qt.QFileDialog.getExistingDirectory(
            self._ui.modelsButton, _("Keep models in"), str(models_folder())
        )
        if folder:
            self._changeFolder(folder)

    def _changeFolder(self, folder: str) -> None:
        try:
            changeModelsFolder(folder)
        except OutputError as error:
            self.command.say(str(error), error=True)
            return
        self.command.say("")
        self._onChanged(None)


def _isTraining(path: str) -> bool:
    """Whether a zip file holds something else than a model; one that cannot be read is taken for a model."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.rpartition("/")[2] == "model.json" for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _tooltip(choice: TaskChoice) -> str:
    if choice.shipped:
        return _("{name}: {title}. Comes with the extension.").format(name=choice.name, title=choice.title)
    return _("{name}: {title}").format(name=choice.name, title=choice.title)
