"""The list of models and tasks, and the search above it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mednext.system.shown_text import shown, tool_tip
from slicer.i18n import tr as _

from ..lists import showRows
from .task_choices import TaskChoice


class TaskList:
    """Shows the rows that contain all words of the search.

    onChosen: gets the name of the row that the user chose, or of the first match of a search.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], None]) -> None:
        self._ui = ui
        self._onChosen = onChosen
        self._choices: Sequence[TaskChoice] = ()
        self._name = ""
        ui.searchBox.connect("textChanged(QString)", self._onSearched)
        ui.taskBox.connect("currentIndexChanged(int)", self._onRow)
        self._fill()

    def setChoices(self, choices: Sequence[TaskChoice]) -> None:
        """Offer these choices without calling `onChosen`."""
        self._choices = choices
        self._fill()

    def select(self, name: str) -> None:
        """Show the row of this name, if there is one; clear a search that hides it."""
        self._name = name
        there = any(choice.name == name for choice in self._choices)
        if there and self._ui.taskBox.findData(name) < 0:
            self._ui.searchBox.clear()
        self._showRow()

    def setEnabled(self, enabled: bool) -> None:
        """Enable or disable the choice, as during a run."""
        self._ui.taskBox.enabled = enabled
        self._ui.searchBox.enabled = enabled

    def _onSearched(self, _text: str) -> None:
        found = self._fill()
        if found and self._name not in {choice.name for choice in found}:
            self._onChosen(found[0].name)

    def _fill(self) -> list[TaskChoice]:
        """Fill the box with the matches of the search, or else with all choices, and return the matches."""
        words = self._ui.searchBox.text
        found = [choice for choice in self._choices if choice.matches(words)]
        rows = ((shown(_rowText(choice)), choice.name) for choice in found or self._choices)
        showRows(self._ui.taskBox, rows, self._name)
        self._showRow()
        label = self._ui.searchLabel
        label.visible = bool(words.strip())
        if found:
            label.text = _("{found} of {total} match.").format(found=len(found), total=len(self._choices))
        else:
            label.text = _('Nothing matches "{words}".').format(words=shown(words.strip()))
        return found

    def _showRow(self) -> None:
        box = self._ui.taskBox
        wasBlocked = box.blockSignals(True)
        box.setCurrentIndex(box.findData(self._name))
        box.blockSignals(wasBlocked)
        title = next((choice.title for choice in self._choices if choice.name == self._name), "")
        box.toolTip = tool_tip(title or _("The structures to segment, and the model."))

    def _onRow(self, index: int) -> None:
        if index >= 0:
            self._onChosen(self._ui.taskBox.itemData(index))


def _rowText(choice: TaskChoice) -> str:
    if choice.model:
        return choice.title
    if choice.published:
        return _("Download: {title}").format(title=choice.title)
    return _("No weights: {title}").format(title=choice.title)
