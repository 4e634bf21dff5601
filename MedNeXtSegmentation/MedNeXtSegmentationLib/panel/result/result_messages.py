"""The sentences in the result section: what a button did, or why it did nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mednext.errors import MedNeXtError
from slicer.i18n import tr as _

logger = logging.getLogger(__name__)


class ResultMessages:
    """One sentence at a time, as a remark or as an error."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.say("")

    def say(self, sentence: str) -> None:
        """Show a remark; "" for none."""
        self._show(sentence, "")

    def fail(self, error: Exception) -> None:
        """Show what went wrong."""
        logger.error("%s", error, exc_info=error)
        if isinstance(error, MedNeXtError):
            self._show("", str(error))
        else:
            fault = _("A fault of this program: {error}. Details are in Slicer's log.")
            self._show("", fault.format(error=repr(error)))

    def guard(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action, with what goes wrong in it shown."""

        def act() -> None:
            self.say("")
            try:
                action()
            except MedNeXtError as error:
                self.fail(error)

        return act

    def _show(self, remark: str, error: str) -> None:
        for label, text in ((self._ui.resultStatusLabel, remark), (self._ui.resultErrorLabel, error)):
            label.text = text
            label.visible = bool(text)
