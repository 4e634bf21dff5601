"""The display of a running command of the engine, such as a download: progress, Cancel, outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
from mednext.errors import AlreadyInstalledError, Cancelled
from mednext.system.shown_text import tool_tip
from slicer.i18n import tr as _

from ...engine.command import start_command
from ...engine.run import Run
from ..messages import Messages, withRemainingTime

_MIB = 2**20
_STEPS = 1000


@dataclass(frozen=True)
class CommandWidgets:
    """The widgets of a `CommandView`; `progress` is visible while a command runs."""

    progress: Any
    bar: Any
    stageLabel: Any
    cancelButton: Any
    errorLabel: Any
    statusLabel: Any


class CommandView:
    """Runs one command at a time.

    onChanged: is called when a command begins or ends.
    """

    def __init__(self, widgets: CommandWidgets, onChanged: Callable[[], None]) -> None:
        self._widgets = widgets
        self._messages = Messages(widgets.statusLabel, widgets.errorLabel)
        self._onChanged = onChanged
        self._run: Run | None = None
        self._number = 0
        self._arrived: tuple[float, int] | None = None  # time and bytes of the first progress
        widgets.cancelButton.connect("clicked()", self.cancel)
        widgets.progress.visible = False

    @property
    def running(self) -> bool:
        """Whether a command is running."""
        return self._run is not None

    def start(
        self, *arguments: str, stage: str, onDone: Callable[[dict[str, Any]], None], cancelled: str = ""
    ) -> None:
        """Begin `mednext ARGUMENTS`, unless another command is running.

        stage: the text before the first progress.
        onDone: gets the command's result.
        cancelled: the sentence after a cancel.
        """
        if self._run:
            return
        self._number += 1
        number = self._number
        self.say("")
        self._arrived = None
        self._widgets.stageLabel.text = stage
        self._widgets.bar.setRange(0, 0)
        self._widgets.cancelButton.enabled = True

        def ofThisCommand(callback: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda what: callback(what) if number == self._number else None

        def failed(error: Exception) -> None:
            self._end()
            if isinstance(error, AlreadyInstalledError) and _mayReplace(error):
                self.start(*arguments, "--overwrite", stage=stage, onDone=onDone, cancelled=cancelled)
            else:
                self._tell(error, cancelled)

        def done(document: dict[str, Any]) -> None:
            self._end()
            onDone(document)

        self._run = start_command(*arguments).follow(
            onProgress=ofThisCommand(self._showProgress),
            onDone=ofThisCommand(done),
            onError=ofThisCommand(failed),
        )
        self._widgets.progress.visible = True
        self._onChanged()

    def cancel(self) -> None:
        """Ask the command to stop, which takes less than 2 s."""
        if self._run:
            self._widgets.cancelButton.enabled = False
            self._widgets.stageLabel.text = _("Cancelling...")
            self._run.cancel()

    def abandon(self) -> None:
        """Cancel without further callbacks: the panel is closed, or the outcome is of no use any more."""
        if self._run:
            self._run.cancel()
        self._run = None
        self._number += 1

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence, as an error or as a remark."""
        self._messages.say(sentence, error)

    def _end(self) -> None:
        self._run = None
        self._widgets.progress.visible = False
        self._onChanged()

    def _tell(self, error: Exception, cancelled: str) -> None:
        if isinstance(error, Cancelled):
            self.say(cancelled or _("Cancelled. Nothing was changed."))
            return
        self._messages.fail(error)

    def _showProgress(self, event: dict[str, Any]) -> None:
        if not self._widgets.cancelButton.enabled:  # after a cancel
            return
        done, total = event["done"], event["total"]
        if not total:
            self._widgets.stageLabel.text = _("{done:.0f} MiB").format(done=done / _MIB)
        elif done >= total:
            self._widgets.bar.setRange(0, 0)
            self._widgets.stageLabel.text = _("Checking and installing")
        else:
            self._widgets.bar.setRange(0, _STEPS)
            self._widgets.bar.setValue(int(_STEPS * done / total))
            self._widgets.stageLabel.text = self._downloadText(done, total)

    def _downloadText(self, done: int, total: int) -> str:
        digits = 0 if total > 10 * _MIB else 1
        text = _("{done:.{digits}f} of {total:.{digits}f} MiB").format(
            done=done / _MIB, total=total / _MIB, digits=digits
        )
        now = time.monotonic()
        if self._arrived is None:
            self._arrived = now, done
        begin, before = self._arrived
        if done == before:
            return text
        return withRemainingTime(text, (now - begin) * (total - done) / (done - before))


def _mayReplace(error: AlreadyInstalledError) -> bool:
    """Ask the user whether the installed model may be replaced."""
    sentence = str(error).partition(". ")[0]
    return slicer.util.confirmYesNoDisplay(
        tool_tip(_("{sentence}.\n\nReplace it?").format(sentence=sentence)), windowTitle=_("Replace a model")
    )
