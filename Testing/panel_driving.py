"""The module's panel for tests that drive it by its buttons, with the real worker and small models.

The fixtures are there in every test, by `conftest.py`; the functions are imported by those that need them.
Slicer and torch are imported only where a test asks for them: most tests need neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[1] / "MedNeXtSegmentation" / "MedNeXtSegmentation.py"
PATIENCE_S = 200
LARGE = (96, 96, 96)
FELT_S = 0.2  # no `standstill` of the window may take that long
TRIES = 3  # others may have the caches, or the host of a virtual machine its processor, for a moment


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder: "tiny" of one channel, "two" of two, "coarse" for large volumes, "crops", "fine"."""
    from bundles import TINY_NETWORK, tiny_bundle
    from mednext.model import Channel

    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "tiny")
    tiny_bundle(
        folder / "two",
        title="Two channels",
        network=replace(TINY_NETWORK, in_channels=2),
        channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")),
    )
    tiny_bundle(folder / "coarse", spacing=(8.0, 8.0, 8.0))  # a large volume is a few tiles for it
    # For what is cancelled: `LARGE` is thousands of tiles, so that no machine is too fast for the test.
    tiny_bundle(folder / "fine", spacing=(0.5, 0.5, 0.5))
    tiny_bundle(folder / "crops", field_of_view=(40.0, 40.0, 40.0))
    return folder


@pytest.fixture
def widget(show_panel: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The panel as it is first opened, in an empty scene."""
    monkeypatch.setenv("MEDNEXT_MODELS", str(models))
    return show_panel(MODULE)[1]


@pytest.fixture
def volume(scene: Any) -> Any:
    """A small volume node in the scene, "T1"."""
    from slicer_nodes import add_volume, head

    return add_volume(scene, head())


@pytest.fixture
def ready(widget: Any, volume: Any) -> Any:
    """The panel with the small model and a volume: Segment can be pressed."""
    choose(widget, "tiny")
    set_option(widget.ui.deviceBox, "cpu")
    widget.ui.mirroringBox.checked = False
    return widget


def choose(widget: Any, name: str) -> None:
    """Choose a model or a task in the list."""
    box = widget.ui.taskBox
    box.setCurrentIndex(box.findData(name))


def set_option(box: Any, text: str) -> None:
    """Choose the row of a combo box that has this text."""
    box.setCurrentIndex(box.findText(text))


def selector(widget: Any, index: int) -> Any:
    """The volume selector of a channel."""
    import slicer

    return slicer.util.findChild(widget.parent, f"channelSelector{index}")


def let_run(widget: Any, until: Callable[[], bool] = lambda: False) -> float:
    """Run the event loop while the panel is busy; returns the longest `standstill` in s."""
    import slicer
    import slicer_standin

    begin, longest = time.monotonic(), 0.0
    while widget.isBusy() and not until():
        assert time.monotonic() - begin < PATIENCE_S
        longest = max(longest, standstill(slicer.app.processEvents))
        slicer_standin.rest(0.01)
    return longest


def standstill(action: Callable[[], Any]) -> float:
    """The time in s for which an action holds up the event loop.

    The processor's time counts, which other programs cannot lengthen, and waits of a second or more, but for
    those for a processor that others have (only Linux tells).
    """
    wall, used, queued = time.monotonic(), time.thread_time(), queued_s()
    action()
    wall, used, queued = time.monotonic() - wall, time.thread_time() - used, queued_s() - queued
    return used if wall - queued < 1 else wall - queued


def queued_s() -> float:
    """For how long this thread has waited for a processor so far, s."""
    told = Path("/proc/thread-self/schedstat")
    return int(told.read_text(encoding="ascii").split()[1]) * 1e-9 if told.exists() else 0.0


def segment(widget: Any) -> Any:
    """Press Segment, wait, and return the segmentation node that came of it."""
    widget.ui.segmentButton.click()
    let_run(widget)
    assert not widget.ui.errorLabel.visible, widget.ui.errorLabel.text
    return widget.panel.parameters.result


def segmentations() -> list[Any]:
    """All segmentation nodes of the scene."""
    import slicer

    return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))


def table(widget: Any) -> list[tuple[str, str]]:
    """What the table of volumes shows: names and amounts."""
    volumes = widget.ui.volumesTable
    return [(volumes.item(row, 0).text(), volumes.item(row, 1).text()) for row in range(volumes.rowCount)]
