"""The panel's widgets: the frame `MedNeXtSegmentation.ui`, and in it one `.ui` file per section."""

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
    "Output",
    "Result",
    "Checks",
    "Models",
    "Checkpoint",
    "ErrorButtons",
    "Environment",
)


def loadPanel(uiPath: Callable[[str], str]) -> Any:
    """The whole panel; each section stands in the layout `<section>Place` of the frame or of another section.

    uiPath: gets a file's name in the folder UI and returns its path.
    """
    panel = _load(uiPath, "MedNeXtSegmentation")
    places = _children(panel)
    _prepareLabels(places.values())
    for name in SECTIONS:
        section = _load(uiPath, name)
        children = _children(section)  # before it stands in the panel: each part is gone through once
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
            _leadToWhatTakesKeys(label)


def _keepNarrow(label: Any) -> None:
    """A word without a break, such as a folder's path, is cut off rather than widening the panel."""
    if label.wordWrap:
        policy = label.sizePolicy
        policy.setHorizontalPolicy(qt.QSizePolicy.Ignored)
        label.setSizePolicy(policy)


def _leadToWhatTakesKeys(label: Any) -> None:
    """The accelerator key of a label leads into its selector, not to the frame around it."""
    buddy = label.buddy()
    if buddy is not None:
        label.setBuddy(partThatTakesKeys(buddy))
