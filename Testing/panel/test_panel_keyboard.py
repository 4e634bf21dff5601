"""The panel by the keyboard: the tab key goes as one reads it, accelerator keys lead to its parts."""

from __future__ import annotations

import ast
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import choose, segment
from fixtures.scene.volume_nodes import add_volume, head

MODULE = Path(__file__).parents[2] / "MedNeXtSegmentation"
MENUS = set("FEVH")  # of Slicer's main window: &File, &Edit, &View, &Help
ACCELERATOR = re.compile(r"(?<!&)&([^&\s])")
BY_KEY = """
    segmentButton allFramesBox uncertaintyBox mirroringBox copyTableButton editButton show3DButton
    nextPlaceButton showUncertaintyButton undoButton redoButton exportButton trainingButton
    checkAndRepairButton copyDiagnosticsButton downloadButton importWeightsButton
"""
BY_LABEL = {
    "roiLabel": "roiSelector",
    "segmentationLabel": "segmentationSelector",
    "structuresLabel": "structuresButton",
}


def key_of(text: str) -> str:
    """The accelerator key in a text, "" for none."""
    return "".join(ACCELERATOR.findall(text)).upper()


def texts_of_ui_files() -> dict[str, str]:
    """The text of each widget of the panel, by its name."""
    return {
        widget.get("name", ""): text.findtext("string", "")
        for file in (MODULE / "Resources" / "UI").glob("*.ui")
        for widget in ElementTree.parse(file).iter("widget")
        for text in widget.findall("property")
        if text.get("name") in ("text", "title")
    }


def texts_of_python_files() -> set[str]:
    """Every literal text that can be translated."""
    return {
        str(argument.value)
        for file in (MODULE / "MedNeXtSegmentationLib").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def chain(panel: Any) -> list[Any]:
    """The visible widgets of the panel in the order of the tab key, from the first one on."""
    import qt
    import slicer

    first = slicer.util.findChild(panel, "searchBox")
    found, widget = [first], first.nextInFocusChain()
    while widget is not first:
        assert len(found) < 1000
        inside = panel.isAncestorOf(widget) and widget.isVisibleTo(panel)
        if inside and widget.focusPolicy & qt.Qt.TabFocus:
            found.append(widget)
        widget = widget.nextInFocusChain()
    return found


def corner(panel: Any, widget: Any) -> tuple[int, int]:
    """Top and left side in the panel, px."""
    import qt

    position = widget.mapTo(panel, qt.QPoint(0, 0))
    return position.y(), position.x()


@pytest.fixture
def shown(ready, models, scene):
    """The panel with all sections open, a result, four channels and folds."""
    from dataclasses import replace

    from fixtures.models.bundles import TINY_NETWORK
    from mednext.model.description import Channel

    segment(ready)
    channels = tuple(Channel(name, "MR", "zscore") for name in ("T1", "T1ce", "T2", "FLAIR"))
    network = replace(TINY_NETWORK, in_channels=4)
    tiny_bundle(models / "four", folds=(0, 1), title="Four", network=network, channels=channels)
    ready.panel.showModels("")
    choose(ready, "four")
    add_volume(scene, head(), name="FLAIR")
    import ctk

    for button in ready.parent.findChildren(ctk.ctkCollapsibleButton):
        button.collapsed = False
    ready.parent.resize(480, 2400)
    import slicer

    slicer.app.processEvents()
    return ready


def test_the_tab_key_follows_the_reading_order_with_the_channels_at_their_place(shown):
    panel = shown.parent
    widgets = chain(panel)
    assert len(widgets) > 15
    for before, after in pairwise(widgets):
        (top, left), (next_top, next_left) = corner(panel, before), corner(panel, after)
        names = before.objectName, after.objectName
        lower = next_top >= top + min(before.height, after.height) // 2
        same_line = abs(next_top - top) <= max(before.height, after.height) and next_left >= left
        assert lower or same_line or before.isAncestorOf(after), names

    import slicer

    def place(name: str) -> int:
        whole = slicer.util.findChild(panel, name)
        return next(n for n, widget in enumerate(widgets) if widget is whole or whole.isAncestorOf(widget))

    names = ["taskBox", *(f"channelSelector{n}" for n in range(4)), "roiSelector", "segmentButton"]
    places = [place(name) for name in names]
    assert places == sorted(places)


def test_no_two_parts_of_the_panel_have_the_same_accelerator_key():
    """Two would only move the focus to and fro; a translator, too, sees the key in each text."""
    texts = set(texts_of_ui_files().values()) | texts_of_python_files()
    keys = {text: key_of(text) for text in texts if key_of(text)}
    # The box says how many frames, once it knows them; it is one part with two texts.
    same = {"All frames of the se&quence"}
    counted = Counter(key for text, key in keys.items() if text not in same)
    assert {key: number for key, number in counted.items() if number > 1} == {}
    assert len(counted) > 18
    assert all(len(key) == 1 and key.isalnum() for key in counted)


def test_no_accelerator_key_of_the_panel_is_that_of_a_menu_of_slicer():
    texts = {*texts_of_ui_files().values(), *texts_of_python_files()}
    assert {text for text in texts if key_of(text) in MENUS} == set()


def test_accelerator_keys_and_labels_lead_to_the_parts_of_the_panel(shown):
    import qt
    import slicer

    for name in BY_KEY.split():
        button = getattr(shown.ui, name)
        assert button.shortcut.toString() == f"Alt+{key_of(button.text)}", name
    for label, target in BY_LABEL.items():
        assert key_of(getattr(shown.ui, label).text), label
        buddy, whole = getattr(shown.ui, label).buddy(), getattr(shown.ui, target)
        assert buddy is whole or whole.isAncestorOf(buddy), label
        assert buddy.focusPolicy & qt.Qt.TabFocus, label
    titles = {"memoryTitle"}  # beside a sentence, not a choice
    labels = slicer.util.findChildren(shown.parent, className="QLabel")
    named = [label for label in labels if label.text.endswith(":") and label.objectName not in titles]
    assert len(named) > 10
    assert [label.text for label in named if label.buddy() is None] == []


def test_the_key_of_the_button_stays_while_it_cancels(ready):
    from fixtures.panel.driving import let_run

    ready.ui.segmentButton.click()
    assert ready.ui.segmentButton.shortcut.toString() == "Alt+C"
    let_run(ready)
    assert ready.ui.segmentButton.shortcut.toString() == "Alt+S"
