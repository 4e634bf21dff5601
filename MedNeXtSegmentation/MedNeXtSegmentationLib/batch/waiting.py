"""Waiting in Slicer's main thread, with windows that go on living where there are any."""

from __future__ import annotations

from typing import TypeVar

import slicer

from ..engine.run import ProgressCallback, Run

T = TypeVar("T")


def waitFor(run: Run[T], progress: ProgressCallback | None = None) -> T:
    """The run's result, once it is there; see `Run.wait`."""
    return run.wait(progress, idle=letWindowsLive)


def letWindowsLive() -> None:
    """Let Slicer answer its user; a Slicer without main window has none."""
    if slicer.util.mainWindow() is not None:
        slicer.app.processEvents()
