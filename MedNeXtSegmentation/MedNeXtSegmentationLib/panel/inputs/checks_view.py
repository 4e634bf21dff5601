"""The problem and the warnings of the chosen images, and the check box to insist on them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from mednext.system.shown_text import rich_text, shown_lines, tool_tip
from slicer.i18n import tr as _

from .input_checks import Checks


class ChecksView:
    """The warnings, the problem, and the button that the problem disables; hidden if there are none.

    The check box is visible while the checks or the engine refuse the images; otherwise hidden, not ticked.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._insistedOn: Hashable = None
        self.show(Checks(), None)

    def show(self, checks: Checks, inputs: Hashable) -> None:
        """Show the findings of the checks; `inputs` is a key that changes with every change of the images.

        The user insists on these images in spite of these doubts: after a change of either the tick is gone.
        """
        ui = self._ui
        ui.problemLabel.text = shown_lines(checks.problem)
        ui.problemLabel.visible = bool(checks.problem)
        ui.warningLabel.text = _list(checks.warnings)
        ui.warningLabel.visible = bool(checks.warnings)
        ui.segmentButton.enabled = not checks.problem
        ui.segmentButton.toolTip = tool_tip(
            checks.problem or _("Segment the chosen volumes in the background.")
        )
        if (inputs, checks.doubts) != self._insistedOn:
            self._insistedOn, ui.insistBox.checked = (inputs, checks.doubts), False
            ui.insistBox.visible = bool(checks.doubts)

    def refuse(self) -> None:
        """Show the check box after the engine has refused the images."""
        self._ui.insistBox.visible = True

    @property
    def insisted(self) -> bool:
        """Whether the user insists on these images."""
        return bool(self._ui.insistBox.visible and self._ui.insistBox.checked)


def _list(sentences: Sequence[str]) -> str:
    """A table, so that the second line of a sentence starts below the first, not below the mark."""
    rows = (
        f'<tr><td style="padding-right: 6px">&#x26A0;</td><td>{rich_text(sentence)}</td></tr>'
        for sentence in sentences
    )
    return f'<table cellspacing="0" cellpadding="1">{"".join(rows)}</table>' if sentences else ""
