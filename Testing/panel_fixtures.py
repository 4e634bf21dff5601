"""Fixtures for tests that drive panels: nothing that went wrong out of sight is overlooked.

PythonQt and VTK print an exception of a slot or an observer and go on; a dialog without an answer would hang.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

__all__ = ["dialogs", "show_panel", "slot_errors"]


@pytest.fixture(autouse=True)
def slot_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Exceptions of Qt slots and VTK observers; the test fails on those it does not take out of the list."""
    seen: list[BaseException] = []

    def remember(_kind: type, error: BaseException, _traceback: TracebackType | None) -> None:
        seen.append(error)

    monkeypatch.setattr(sys, "excepthook", remember)
    yield seen
    if seen:
        raise AssertionError(
            f"{len(seen)} exceptions in slots or observers, the first: {seen[0]!r}"
        ) from seen[0]


@pytest.fixture(autouse=True)
def _no_open_question() -> Iterator[None]:
    """Dialogs nobody answered and answers to dialogs that did not come fail the test."""
    yield
    # Only what the test imported: most tests have no dialogs, and Qt takes its time to load.
    module = sys.modules.get("slicer_standin.pythonqt.dialogs")
    if module is None:
        return
    unanswered, unused = list(module.dialogs.unanswered), module.dialogs.unused
    module.dialogs.clear()
    assert not unanswered, f"dialogs that waited for an answer: {unanswered}"
    assert not unused, f"answers to dialogs that did not come up: {unused}"


@pytest.fixture
def dialogs(scene: Any) -> Any:
    """Queue answers with `dialogs.answer(...)`, see what came up in `dialogs.asked`."""
    from slicer_standin import dialogs

    dialogs.clear()
    return dialogs


@pytest.fixture
def show_panel(scene: Any) -> Iterator[Callable[[Path], tuple[Any, Any]]]:
    """`show_panel(module_file)` loads the module and shows its panel: the panel and its Widget object."""
    import slicer
    import slicer_standin

    shown: list[str] = []

    def show(module_file: Path) -> tuple[Any, Any]:
        slicer_standin.load_module(module_file)
        shown.append(module_file.stem)
        return slicer_standin.show_module(module_file.stem)

    yield show
    for name in shown:
        slicer_standin.close_module(name)
    scene.Clear(0)
    slicer.app.userSettings().clear()  # what the user chose in one test is no habit in the next
