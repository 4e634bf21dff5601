"""The tab key goes through the whole panel in the order in which it is read, and comes to everything."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from bundles import tiny_bundle
from panel_driving import choose, segment
from slicer_nodes import add_volume, head


def chain(panel: Any) -> list[Any]:
    """What the tab key comes to in the panel from its first widget on, as far as it can be seen."""
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

    from bundles import TINY_NETWORK
    from mednext.model import Channel

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


def test_the_tab_key_follows_the_reading_order(shown):
    panel = shown.parent
    widgets = chain(panel)
    assert len(widgets) > 15
    for before, after in pairwise(widgets):
        (top, left), (next_top, next_left) = corner(panel, before), corner(panel, after)
        names = before.objectName, after.objectName
        lower = next_top >= top + min(before.height, after.height) // 2
        same_line = abs(next_top - top) <= max(before.height, after.height) and next_left >= left
        assert lower or same_line or before.isAncestorOf(after), names


def test_the_channels_come_between_the_task_and_the_button(shown):
    import slicer

    panel = shown.parent
    widgets = chain(panel)

    def place(name: str) -> int:
        whole = slicer.util.findChild(panel, name)
        return next(n for n, widget in enumerate(widgets) if widget is whole or whole.isAncestorOf(widget))

    names = ["taskBox", *(f"channelSelector{n}" for n in range(4)), "roiSelector", "segmentButton"]
    places = [place(name) for name in names]
    assert places == sorted(places)
