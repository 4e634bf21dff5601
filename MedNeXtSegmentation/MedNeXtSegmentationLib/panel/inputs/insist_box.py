"""The check box by which the user insists on images that look certainly wrong."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class InsistBox:
    """The box, visible while the checks or the engine refuse the images, otherwise hidden and not ticked."""

    def __init__(self, ui: Any) -> None:
        self._box = ui.insistBox
        self._inputs: Hashable = None
        self._show(False)

    def show(self, inputs: Hashable, suspect: bool) -> None:
        """Show the box for suspect inputs; `inputs` is a key that changes with every change of them."""
        if inputs != self._inputs:
            self._inputs = inputs
            self._box.checked = False
            self._show(suspect)
        elif suspect:
            self._show(True)

    def refused(self) -> None:
        """Show the box after the engine has refused the inputs."""
        self._show(True)

    @property
    def ticked(self) -> bool:
        """Whether the user insists on these inputs."""
        return bool(self._box.visible and self._box.checked)

    def _show(self, visible: bool) -> None:
        self._box.visible = visible
