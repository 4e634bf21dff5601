"""The box that lets the user segment what looks certainly wrong."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class InsistBox:
    """Is there while something is refused, by the checks before a run or by the engine; else not ticked."""

    def __init__(self, ui: Any) -> None:
        self._box = ui.insistBox
        self._inputs: Hashable = None
        self._show(False)

    def show(self, inputs: Hashable, suspect: bool) -> None:
        """Be there if the inputs are suspect; `inputs` changes with every change of them."""
        if inputs != self._inputs:
            self._inputs = inputs
            self._box.checked = False
            self._show(suspect)
        elif suspect:
            self._show(True)

    def refused(self) -> None:
        """The engine has refused the inputs."""
        self._show(True)

    @property
    def ticked(self) -> bool:
        """Whether the user insists on these inputs."""
        return bool(self._box.visible and self._box.checked)

    def _show(self, visible: bool) -> None:
        self._box.visible = visible
