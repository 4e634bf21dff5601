"""The labels for the problem and the warnings of the chosen images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mednext.system.shown_text import rich_text, shown_lines, tool_tip
from slicer.i18n import tr as _

from .input_checks import Checks


class ChecksView:
    """The warnings, the problem, and the button that the problem disables; hidden if there are none."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.show(Checks())

    def show(self, checks: Checks) -> None:
        """Show the findings of the checks."""
        ui = self._ui
        ui.problemLabel.text = shown_lines(checks.problem)
        ui.problemLabel.visible = bool(checks.problem)
        ui.warningLabel.text = _list(checks.warnings)
        ui.warningLabel.visible = bool(checks.warnings)
        ui.segmentButton.enabled = not checks.problem
        ui.segmentButton.toolTip = tool_tip(
            checks.problem or _("Segment the chosen volumes in the background.")
        )


def _list(sentences: Sequence[str]) -> str:
    """A table, so that the second line of a sentence starts below the first, not below the mark."""
    rows = (
        f'<tr><td style="padding-right: 6px">&#x26A0;</td><td>{rich_text(sentence)}</td></tr>'
        for sentence in sentences
    )
    return f'<table cellspacing="0" cellpadding="1">{"".join(rows)}</table>' if sentences else ""
