"""The form for the import of another program's checkpoint: questions, and all that was understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
from mednext.library.catalog import Task
from mednext.system.shown_text import shown, tool_tip
from slicer.i18n import tr as _

from ..lists import showRows

_ORIENTATIONS = ("RAS", "LAS", "LPS", "RPS", "RAI", "LAI", "LPI", "RPI")
_FROM_IMAGES = "images"
_MIRRORED = ("0,1,2", "0,1", "0,2", "1,2", "0", "1", "2")
_MOST_HEIGHT_PX = 320  # of the table; longer ones scroll


class CheckpointForm:
    """The form, which is hidden until a checkpoint is chosen.

    Whenever an answer changes, the checkpoint is examined again; it can be imported when no question is open.

    onExamine: gets the arguments of `mednext models import` that report without importing, and a function for
        the report; an earlier examination is of no use any more.
    onImport: gets the arguments of `mednext models import`.
    """

    def __init__(
        self,
        ui: Any,
        onExamine: Callable[[Sequence[str], Callable[[dict[str, Any]], None]], None],
        onImport: Callable[[Sequence[str]], None],
    ) -> None:
        self._ui = ui
        self._onExamine = onExamine
        self._onImport = onImport
        self._path = ""
        self._examined: list[str] | None = None  # the answers that are or were examined last
        self._isComplete = False  # with them no question is open
        self._running = self._examining = False  # a command, one that examines
        told = (_("As the checkpoint tells"), "")
        codes = ((code, code) for code in _ORIENTATIONS)
        fromImages = (_("As in the training images"), _FROM_IMAGES)
        showRows(ui.checkpointOrientationBox, [told, fromImages, *codes], "")
        axes = ((_("Along the axes {axes}").format(axes=each.replace(",", ", ")), each) for each in _MIRRORED)
        showRows(ui.checkpointMirrorBox, [told, (_("Not mirrored"), "none"), *axes], "")
        self._offered = {  # boxes with the answers that a report offers, by the question
            "part": (ui.checkpointPartLabel, ui.checkpointPartBox),
            "configuration": (ui.checkpointConfigurationLabel, ui.checkpointConfigurationBox),
            "grn_denominator": (ui.checkpointGrnLabel, ui.checkpointGrnBox),
        }
        offered = [choices for _label, choices in self._offered.values()]
        boxes = (ui.checkpointOrientationBox, ui.checkpointMirrorBox, ui.checkpointTaskBox)
        for choice in (*boxes, *offered):
            choice.connect("currentIndexChanged(int)", lambda _index: self._changed())
        ui.checkpointLabelsEdit.connect("editingFinished()", self._changed)
        for edit in (ui.checkpointImagesEdit, ui.checkpointDescriptionEdit):
            edit.connect("currentPathChanged(QString)", lambda _path: self._changed())
        header = ui.checkpointTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(1, qt.QHeaderView.Stretch)
        ui.checkpointTable.verticalHeader().hide()
        ui.importCheckpointButton.connect("clicked()", self._import)
        ui.closeCheckpointButton.connect("clicked()", self.close)
        self._fitting = qt.QTimer(ui.checkpointTable)  # which ends with the table
        self._fitting.setSingleShot(True)
        self._fitting.connect("timeout()", self._fit)
        self.close()

    def setTasks(self, tasks: Sequence[Task]) -> None:
        """Offer these tasks."""
        box, names = self._ui.checkpointTaskBox, {task.name for task in tasks}
        rows = [*((shown(task.title), task.name) for task in tasks), (_("Another"), "")]
        showRows(box, rows, box.currentData if box.currentData in names else "")

    def ask(self, path: str, task: str = "") -> None:
        """Open the form for a results folder of nnU-Net or a file of weights, and examine it."""
        ui = self._ui
        self.close()
        self._path = path
        ui.checkpointLabel.text = shown(path)
        ui.checkpointNameEdit.text = _nameOf(path)
        ui.checkpointTaskBox.setCurrentIndex(ui.checkpointTaskBox.findData(task))
        ui.checkpointMirrorBox.setCurrentIndex(0)
        for _label, choices in self._offered.values():
            choices.clear()
        self._showFacts([], [])
        ui.checkpointGroup.visible = True
        self._changed()

    def close(self) -> None:
        """Hide the form."""
        self._ui.checkpointGroup.visible = False
        self._examined = None

    def update(self, running: bool) -> None:
        """Examine the checkpoint if an answer has changed, unless another command is running."""
        ui, answers = self._ui, self._answers()
        self._running, self._examining = running, running and self._examining
        if ui.checkpointGroup.visible and answers != self._examined and running == self._examining:
            self._examined, self._isComplete, self._examining = answers, False, True
            self._onExamine(
                ["models", "import", self._path, "--name=model", "--dry-run", *answers],
                lambda document: self._showReport(document["report"], answers),
            )
            return
        ui.importCheckpointButton.enabled = not running and self._isComplete and answers == self._examined

    def _showReport(self, report: dict[str, Any], answers: Sequence[str]) -> None:
        """Show the facts that were understood, and offer the choices of the questions that have some."""
        if answers != self._examined:
            return
        asked = {question["option"]: question for question in report["questions"]}
        for option, (_label, box) in self._offered.items():
            if option in asked:
                choices = [(shown(choice), choice) for choice in asked[option]["choices"]]
                showRows(box, [(_("Choose..."), ""), *choices], "")
        sentences = [question["text"] for question in report["questions"]]
        self._showFacts(report["facts"], [*sentences, *report["remarks"]])
        self._isComplete = not asked
        self._changed()

    def _changed(self) -> None:
        self._showRows()
        self.update(self._running)

    def _showFacts(self, facts: Sequence[dict[str, str]], sentences: Sequence[str]) -> None:
        ui = self._ui
        table = ui.checkpointTable
        table.visible = bool(facts)
        table.setRowCount(len(facts))
        names = _factNames()
        for row, fact in enumerate(facts):
            value = f"{fact['value']} ({fact['source']})" if fact["source"] else fact["value"]
            for column, text in enumerate((names.get(fact["fact"], fact["fact"]), value)):
                item = qt.QTableWidgetItem(shown(text))
                item.setToolTip(tool_tip(value))
                table.setItem(row, column, item)
        ui.checkpointRemarksLabel.text = "\n".join(f"• {shown(sentence)}" for sentence in sentences)
        ui.checkpointRemarksLabel.visible = bool(sentences)
        self._fit()
        self._fitting.start(0)  # when the columns have their widths

    def _fit(self) -> None:
        """Make the table as high as its rows, up to a limit."""
        table = self._ui.checkpointTable
        table.resizeRowsToContents()
        rows = sum(table.rowHeight(row) for row in range(table.rowCount))
        table.setFixedHeight(min(_MOST_HEIGHT_PX, table.horizontalHeader().height + rows + 4))

    def _showRows(self) -> None:
        ui = self._ui
        for visible, *widgets in (
            (not ui.checkpointTaskBox.currentData, ui.checkpointLabelsLabel, ui.checkpointLabelsEdit),
            (
                ui.checkpointOrientationBox.currentData == _FROM_IMAGES,
                ui.checkpointImagesLabel,
                ui.checkpointImagesEdit,
            ),
            (self._isFile(), ui.checkpointDescriptionLabel, ui.checkpointDescriptionEdit),
            *((choices.count > 0, label, choices) for label, choices in self._offered.values()),
        ):
            for widget in widgets:
                widget.visible = visible

    def _isFile(self) -> bool:
        return Path(self._path).is_file() and Path(self._path).suffix.lower() != ".zip"

    def _answers(self) -> list[str]:
        """The answers as options of `mednext models import`."""
        ui = self._ui
        orientation = ui.checkpointOrientationBox.currentData
        fromImages = orientation == _FROM_IMAGES
        task = ui.checkpointTaskBox.currentData
        options = {
            "--task": task,
            "--labels": "" if task else ui.checkpointLabelsEdit.text.strip(),
            "--orientation": "" if fromImages else orientation,
            "--images": ui.checkpointImagesEdit.currentPath if fromImages else "",
            "--mirror-axes": ui.checkpointMirrorBox.currentData,
            "--part": ui.checkpointPartBox.currentData,
            "--configuration": ui.checkpointConfigurationBox.currentData,
            "--grn": ui.checkpointGrnBox.currentData,
            "--description": ui.checkpointDescriptionEdit.currentPath if self._isFile() else "",
        }
        return [f"{option}={value}" for option, value in options.items() if value]

    def _import(self) -> None:
        answers = self._answers()
        if answers != self._examined:
            self.update(self._running)
            return
        name = self._ui.checkpointNameEdit.text.strip()
        self._onImport(["models", "import", self._path, f"--name={name}", *answers])


def _factNames() -> dict[str, str]:
    """The facts of a report, as the table names them."""
    return {
        "network": _("Network"),
        "weights": _("Weights"),
        "channels": _("Images"),
        "labels": _("Structures"),
        "regions": _("Regions"),
        "output": _("Output"),
        "orientation": _("Orientation"),
        "mirroring": _("Mirroring"),
        "normalisation": _("Normalisation"),
        "spacing": _("Spacing"),
        "patch": _("Patch"),
        "pipeline": _("Pipeline"),
        "clean-up": _("Clean-up"),
    }


def _nameOf(path: str) -> str:
    """A valid model name that resembles the file's name."""
    name = Path(path).stem if Path(path).is_file() else Path(path).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64] or "model"
