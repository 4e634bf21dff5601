"""The panel's widgets: the frame `MedNeXtSegmentation.ui`, and in it one `.ui` file per section."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from .tab_order import partThatTakesKeys

SECTIONS = (
    "Task",
    "Weights",
    "Frames",
    "Output",
    "Result",
    "Checks",
    "Models",
    "Checkpoint",
    "Trouble",
    "Environment",
)


def loadPanel(uiPath: Callable[[str], str]) -> Any:
    """The whole panel; each section stands in the layout `<section>Place` of the frame.

    uiPath: gets a file's name in the folder UI and returns its path.
    """
    panel = slicer.util.loadUI(uiPath("MedNeXtSegmentation.ui"))
    panel.setMRMLScene(slicer.mrmlScene)
    for name in SECTIONS:
        section = slicer.util.loadUI(uiPath(f"{name}.ui"))
        section.setMRMLScene(slicer.mrmlScene)
        slicer.util.findChild(panel, f"{name}Place").addWidget(section)
    _keepNarrow(panel)
    _leadToWhatTakesKeys(panel)
    return panel


def _keepNarrow(panel: Any) -> None:
    """A word without a break, such as a folder's path, is cut off rather than widening the panel."""
    for label in slicer.util.findChildren(panel, className="QLabel"):
        if label.wordWrap:
            policy = label.sizePolicy
            policy.setHorizontalPolicy(qt.QSizePolicy.Ignored)
            label.setSizePolicy(policy)


def _leadToWhatTakesKeys(panel: Any) -> None:
    """The accelerator key of a label leads into its selector, not to the frame around it."""
    for label in slicer.util.findChildren(panel, className="QLabel"):
        buddy = label.buddy()
        if buddy is not None:
            label.setBuddy(partThatTakesKeys(buddy))
