"""The panel's widgets: the frame `MedNeXtSegmentation.ui` with one `.ui` file for each section."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import qt
import slicer

from .tab_order import partThatTakesKeys

SECTIONS = (
    "Task",
    "Weights",
    "Frames",
    "Chosen",
    "Output",
    "Result",
    "Checks",
    "Models",
    "Checkpoint",
    "ErrorButtons",
    "Environment",
    "Server",
)


def loadPanel(uiPath: Callable[[str], str]) -> Any:
    """Load the panel; each section goes into the layout `<section>Place` of the frame or of another section.

    uiPath: returns the path of a file in the folder UI.
    """
    panel = _load(uiPath, "MedNeXtSegmentation")
    places = _children(panel)
    _prepareLabels(places.values())
    for name in SECTIONS:
        section = _load(uiPath, name)
        children = _children(section)  # before it is in the panel, so that each child is found once
        _prepareLabels(children.values())
        places[f"{name}Place"].addWidget(section)
        places.update(children)
    return panel


def _load(uiPath: Callable[[str], str], name: str) -> Any:
    part = slicer.util.loadUI(uiPath(f"{name}.ui"))
    part.setMRMLScene(slicer.mrmlScene)
    return part


def _children(part: Any) -> dict[str, Any]:
    return {child.objectName: child for child in slicer.util.findChildren(part)}


def _prepareLabels(children: Iterable[Any]) -> None:
    for label in children:
        if label.className() == "QLabel":
            _keepNarrow(label)
            _leadToPartThatTakesKeys(label)


def _keepNarrow(label: Any) -> None:
    """Cut off a long word, such as a folder's path, rather than widen the panel."""
    if label.wordWrap:
        policy = label.sizePolicy
        policy.setHorizontalPolicy(qt.QSizePolicy.Ignored)
        label.setSizePolicy(policy)


def _leadToPartThatTakesKeys(label: Any) -> None:
    """Let the accelerator key of a label focus its selector, not the frame around it."""
    buddy = label.buddy()
    if buddy is not None:
        label.setBuddy(partThatTakesKeys(buddy))
