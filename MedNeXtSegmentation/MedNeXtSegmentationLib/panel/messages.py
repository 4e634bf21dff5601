"""The messages of a section: a remark, an error, the remaining time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mednext.errors import MedNeXtError
from mednext.system.shown_text import shown_lines
from slicer.i18n import tr as _

logger = logging.getLogger(__name__)


class Messages:
    """Shows one sentence at a time, as a remark or as an error, each in its own label."""

    def __init__(self, statusLabel: Any, errorLabel: Any) -> None:
        self._statusLabel = statusLabel
        self._errorLabel = errorLabel
        self.say("")

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence, as an error or as a remark; "" for none."""
        for label, text in (
            (self._statusLabel, "" if error else sentence),
            (self._errorLabel, sentence if error else ""),
        ):
            label.text = shown_lines(text)
            label.visible = bool(text)

    def fail(self, error: Exception) -> None:
        """Log an error and show its message."""
        logger.error("%s", error, exc_info=error)
        if isinstance(error, MedNeXtError):
            self.say(str(error), error=True)
        else:
            fault = _("A fault of this program: {error}. Details are in Slicer's log.")
            self.say(fault.format(error=repr(error)), error=True)

    def guard(self, action: Callable[[], None]) -> Callable[[], None]:
        """Wrap an action so that its errors are shown."""

        def act() -> None:
            self.say("")
            try:
                action()
            except MedNeXtError as error:
                self.fail(error)

        return act


def withRemainingTime(text: str, remaining_s: float) -> str:
    """The text, and how long the work will still take."""
    if remaining_s < 90:
        return _("{text}, about {seconds:.0f} s left").format(text=text, seconds=remaining_s)
    return _("{text}, about {minutes:.0f} min left").format(text=text, minutes=remaining_s / 60)
