"""Everything in the panel that a user can work with explains itself and can be reached by the keyboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import slicer
import slicer_standin
from fixtures.panel.driving import choose

FORMS = Path(__file__).parents[2] / "MedNeXtSegmentation" / "Resources" / "UI"
# Widgets of Qt that a user works with; those of CTK and Slicer are made of them.
INTERACTIVE = (
    "QAbstractButton",
    "QAbstractItemView",
    "QAbstractSlider",
    "QAbstractSpinBox",
    "QComboBox",
    "QLineEdit",
    "QPlainTextEdit",
    "QTextEdit",
)
# Parts of a larger widget, whose tooltip is shown.
COMPOSITE = ("QComboBox", "QAbstractSpinBox", "QAbstractItemView", "QPlainTextEdit", "QTextEdit")


def is_a(widget: Any, *names: str) -> bool:
    return any(base.__name__ in names for base in type(widget).__mro__)


def is_composite(widget: Any) -> bool:
    own = any(base.__name__.startswith(("ctk", "qMRML", "qSlicer")) for base in type(widget).__mro__)
    return own or is_a(widget, *COMPOSITE)


def interactive(parent: Any) -> Iterator[Any]:
    """The widgets below a widget that a user works with, each composite one once."""
    for child in parent.children():
        if not is_a(child, "QWidget") or is_a(child, "QScrollBar", "QHeaderView"):
            continue
        collapsible = is_a(child, "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "qMRMLWidget")
        if (is_a(child, *INTERACTIVE) or is_composite(child)) and not is_a(child, "qMRMLWidget"):
            yield child
        if collapsible or not is_composite(child):
            yield from interactive(child)


def name_of(widget: Any) -> str:
    return widget.objectName or type(widget).__name__


@pytest.fixture
def widgets(widget, volume):
    """All of them, of a model with two channels."""
    choose(widget, "two")
    found = list(interactive(widget.parent))
    assert {"taskBox", "segmentButton", "channelSelector1", "roiSelector"} <= {name_of(w) for w in found}
    return found


@pytest.mark.parametrize("file", sorted(FORMS.glob("*.ui")), ids=lambda file: file.stem)
def test_no_two_rows_of_a_form_share_a_place(file):
    """Qt leaves the second one out, with a line in the log."""
    for form in ElementTree.parse(file).iter("layout"):
        places = Counter(
            (item.get("row"), int(item.get("column", 0)) + further)
            for item in form.findall("item")
            if form.get("class") in {"QFormLayout", "QGridLayout"}
            for further in range(int(item.get("colspan", 1)))
        )
        assert [place for place, count in places.items() if count > 1] == [], form.get("name")


def test_everything_has_a_tooltip(widgets):
    assert [name_of(widget) for widget in widgets if not widget.toolTip] == []


def test_everything_is_reached_by_the_keyboard(widgets):
    import qt

    def reached(widget: Any) -> bool:
        inside = [child for child in widget.findChildren(qt.QWidget) if is_a(child, *INTERACTIVE)]
        return any(part.focusPolicy & qt.Qt.TabFocus for part in (widget, *inside))

    assert [name_of(widget) for widget in widgets if not reached(widget)] == []


def test_no_sentence_is_cut_off_when_others_come_and_go(widget, tmp_path):
    """A form of Qt gives too little height to a sentence after its rows were hidden and shown."""
    ui = widget.ui
    for section in (ui.advancedButton, ui.environmentButton, ui.modelsButton):
        section.collapsed = False
    for group in (ui.inputsGroup, ui.outputGroup, ui.serverGroup, ui.checkpointGroup, ui.weightsGroup):
        group.visible = True
    children = slicer.util.findChildren(widget.parent)
    labels = [child for child in children if child.className() == "QLabel" and child.wordWrap]
    for turn in range(6):
        for number, label in enumerate(labels):
            label.visible = (number + turn) % 3 > 0
            label.text = "some words and more " * (1 + (2 * number + turn) % 5)
        slicer_standin.save_picture(widget.parent, tmp_path / "panel.png", 400)
        shown = [label for label in labels if label.isVisible()]
        assert [name_of(label) for label in shown if label.height < label.heightForWidth(label.width)] == []
