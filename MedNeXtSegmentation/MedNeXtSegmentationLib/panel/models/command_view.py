"""The display of a running command of the engine, such as a download: progress, Cancel, outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
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


class CommandView:
    """Runs one command at a time.

    section: the beginning of the names of its widgets; `<section>Progress` is visible while a command runs.
    onChanged: is called when a command begins or ends.
    """

    def __init__(self, ui: Any, section: str, onChanged: Callable[[], None]) -> None:
        self._progress, self._bar, self._stageLabel, self._cancelButton, statusLabel, errorLabel = (
            getattr(ui, f"{section}{name}")
            for name in ("Progress", "Bar", "StageLabel", "CancelButton", "StatusLabel", "ErrorLabel")
        )
        self._messages = Messages(statusLabel, errorLabel)
        self._onChanged = onChanged
        self._run: Run | None = None
        self._arrived: tuple[float, int] | None = None  # time and bytes of the first progress
        self._cancelButton.connect("clicked()", self.cancel)
        self._progress.visible = False

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
        self.say("")
        self._arrived = None
        self._stageLabel.text = stage
        self._bar.setRange(0, 0)
        self._cancelButton.enabled = True

        def failed(error: Exception) -> None:
            self._end()
            if isinstance(error, AlreadyInstalledError) and _mayReplace(error):
                self.start(*arguments, "--overwrite", stage=stage, onDone=onDone, cancelled=cancelled)
            else:
                self._tell(error, cancelled)

        def done(document: dict[str, Any]) -> None:
            self._end()
            onDone(document)

        self._run = start_command(*arguments).follow(self._showProgress, done, failed)
        self._progress.visible = True
        self._onChanged()

    def cancel(self) -> None:
        """Ask the command to stop, which takes less than 2 s."""
        if self._run:
            self._cancelButton.enabled = False
            self._stageLabel.text = _("Cancelling...")
            self._run.cancel()

    def abandon(self) -> None:
        """Cancel without further callbacks: the panel is closed, or the outcome is of no use any more."""
        if self._run:
            self._run.cancel()
            self._run.unfollow()
        self._run = None

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence, as an error or as a remark."""
        self._messages.say(sentence, error)

    def _end(self) -> None:
        self._run = None
        self._progress.visible = False
        self._onChanged()

    def _tell(self, error: Exception, cancelled: str) -> None:
        if isinstance(error, Cancelled):
            self.say(cancelled or _("Cancelled. Nothing was changed."))
            return
        self._messages.fail(error)

    def _showProgress(self, event: dict[str, Any]) -> None:
        if not self._cancelButton.enabled:  # after a cancel
            return
        done, total = event["done"], event["total"]
        if not total:
            self._stageLabel.text = _("{done:.0f} MiB").format(done=done / _MIB)
        elif done >= total:
            self._bar.setRange(0, 0)
            self._stageLabel.text = _("Checking and installing")
        else:
            self._bar.setRange(0, _STEPS)
            self._bar.setValue(int(_STEPS * done / total))
            self._stageLabel.text = self._downloadText(done, total)

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
