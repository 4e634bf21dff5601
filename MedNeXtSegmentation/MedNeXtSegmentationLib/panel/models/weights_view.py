"""The section Weights: download and import of the chosen model's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
from mednext.system.shown_text import rich_text, shown_lines, tool_tip
from slicer.i18n import tr as _

from . import terms_of_use
from .command_view import CommandView
from .task_card import downloadSize, sizeText
from .task_choices import TaskChoice


class WeightsView:
    """The section below the card; hidden when the newest weights are installed.

    onInstalled: gets the name of a newly installed model.
    askForCheckpoint: gets the name of a task, to import weights of another program for it.
    onSee: gets the name of a similar model that the user wants to see.
    """

    def __init__(
        self,
        ui: Any,
        onInstalled: Callable[[str], None],
        askForCheckpoint: Callable[[str], None],
        onSee: Callable[[str], None],
    ) -> None:
        self._ui = ui
        self._onInstalled = onInstalled
        self._choice: TaskChoice | None = None
        self._doing = ""
        self.command = CommandView(ui, "weights", self._update)
        ui.downloadButton.connect("clicked()", self._download)
        ui.importWeightsButton.connect("clicked()", self._chooseZip)
        ui.importOtherButton.connect("clicked()", lambda: askForCheckpoint(self._choice.task.name))
        ui.termsBox.connect("toggled(bool)", lambda _checked: self._update())
        ui.allFoldsBox.connect("toggled(bool)", lambda _checked: self._update())
        ui.seeLabel.connect("linkActivated(QString)", onSee)
        self._update()

    def show(self, choice: TaskChoice | None) -> None:
        """Show the actions for this choice."""
        if choice == self._choice:
            return
        if choice is None or self._choice is None or choice.name != self._choice.name:
            self._ui.termsBox.checked = self._ui.allFoldsBox.checked = False
            if not self.command.running:
                self.command.say("")  # the message concerned the choice before
        self._choice = choice
        self._update()

    def importPath(self, path: str) -> None:
        """Install the model in a zip file or in a folder, unless a command is running."""
        if self.command.running:
            self.command.say(
                _("A download or an import is running: import {path} again when it has ended.").format(
                    path=path
                )
            )
            return
        self._doing = _("Importing {name}").format(name=Path(path).name)
        # The slashes of an absolute path distinguish it from the name of a model.
        self.command.start(
            "models", "install", path, stage=_("Checking and installing"), onDone=self._installed
        )

    def _chooseZip(self) -> None:
        path = qt.QFileDialog.getOpenFileName(
            self._ui.weightsGroup, _("Import a model"), "", _("Models (*.zip)")
        )
        if path:
            self.importPath(path)

    def _download(self) -> None:
        choice = self._choice
        assert choice
        terms_of_use.accept(choice)
        self._doing = _("Downloading {title}").format(title=choice.title)
        options = ["--overwrite"] if choice.model else []
        if choice.elsewhere:
            folds = choice.elsewhere.folds[: self._folds()]
            options += ["--accept-terms", f"--folds={','.join(map(str, folds))}"]
        self.command.start(
            "models",
            "install",
            choice.name,
            *options,
            stage=_("Connecting"),
            onDone=self._installed,
            cancelled=_("Cancelled. The next download resumes this one."),
        )

    def _installed(self, document: dict[str, Any]) -> None:
        model = document["model"]
        self.command.say(
            _("{title}, version {version}, was installed.").format(
                title=model["title"], version=model["version"]
            )
        )
        self._onInstalled(model["name"])

    def _folds(self) -> int:
        """The number of folds to download of a model that others published."""
        return len(self._choice.elsewhere.folds) if self._ui.allFoldsBox.checked else 1

    def _update(self) -> None:
        ui, choice, running = self._ui, self._choice, self.command.running
        complete = choice is None or (choice.model is not None and choice.published is None)
        ui.weightsGroup.visible = running or not complete
        situation = self._doing if running else "" if complete else _situation(choice, self._folds)
        ui.weightsLabel.text = shown_lines(situation)
        terms = "" if complete else terms_of_use.termsOf(choice)
        asked = bool(terms) and not terms_of_use.areAccepted(choice)
        ui.termsLabel.text = terms
        ui.termsWidget.visible = asked and not running
        see = choice.task.see if choice and choice.task and not choice.published and not running else ()
        ui.seeLabel.text = _links(see)
        ui.seeLabel.visible = bool(see)
        several = bool(choice and choice.published and choice.elsewhere and len(choice.elsewhere.folds) > 1)
        ui.allFoldsBox.visible = several and not running
        if several:
            ui.allFoldsBox.text = _allFoldsText(choice)
        ui.downloadButton.visible = not running and not complete and choice.published is not None
        ui.importWeightsButton.visible = not running and not complete
        ui.importOtherButton.visible = ui.importWeightsButton.visible and choice.published is None
        if choice and choice.published:
            ui.downloadButton.text = _buttonText(choice, self._folds() if choice.elsewhere else 1)
            ui.downloadButton.enabled = not asked or ui.termsBox.checked
            ui.downloadButton.toolTip = (
                tool_tip(_downloadTip(choice)) if ui.downloadButton.enabled else _("Accept the terms first.")
            )


def _situation(choice: TaskChoice, folds: Callable[[], int]) -> str:
    """The sentence on the state of the weights."""
    if choice.model and choice.published:
        return _("Version {new} is published, version {old} is installed.").format(
            new=choice.published.version, old=choice.model.version
        )
    if choice.published and _arrived(choice):
        return _("{arrived} of {size} were downloaded.").format(
            arrived=sizeText(_arrived(choice)), size=downloadSize(choice.published)
        )
    if choice.elsewhere:
        return " ".join((_notHere(), _trust(), *_memory(choice, folds())))
    if choice.published:
        return _notHere()
    return choice.task.weights


def _notHere() -> str:
    return _("These weights are not on this computer yet.")


def _trust() -> str:
    return _("Their SHA-256 is not published: it is kept at the first download and compared with later ones.")


def _memory(choice: TaskChoice, folds: int) -> list[str]:
    """The sentence on the memory of the import, if the size of a fold is known."""
    from mednext.library.import_memory import memory_of_import
    from mednext.system.free_memory import obtainable_memory

    size, free = choice.elsewhere.fold_bytes, obtainable_memory()
    if not size or free is None:
        return []
    return [
        _("Their import takes up to {needed} of memory; {free} are free.").format(
            needed=sizeText(memory_of_import([size] * folds)), free=sizeText(free)
        )
    ]


def _links(names: Sequence[str]) -> str:
    """Links to the rows of these models."""
    links = [f'<a href="{rich_text(name)}">{rich_text(name)}</a>' for name in names]
    return _("Models of others for similar tasks: {links}").format(links=", ".join(links)) if links else ""


def _arrived(choice: TaskChoice) -> int:
    """The bytes of an interrupted download."""
    from mednext.library.store import downloaded_bytes

    download = choice.published.download
    return downloaded_bytes(download.sha256) if download else 0


def _allFoldsText(choice: TaskChoice) -> str:
    count = len(choice.elsewhere.folds)
    size = downloadSize(choice.published, count)
    if not size:
        return _("All {count} folds").format(count=count)
    return _("All {count} folds ({size})").format(count=count, size=size)


def _buttonText(choice: TaskChoice, folds: int) -> str:
    if _arrived(choice):
        return _("Resume download")
    size = downloadSize(choice.published, folds)
    if not size:
        return _("Update") if choice.model else _("Download")
    return (_("Update ({size})") if choice.model else _("Download ({size})")).format(size=size)


def _downloadTip(choice: TaskChoice) -> str:
    from mednext.library.store import models_folder
    from mednext.library.web_address import shown_address

    published = choice.published
    url = published.download.urls[0] if published.download else published.elsewhere.page
    return _("From {url} into the folder {folder}.").format(url=shown_address(url), folder=models_folder())
