"""Waiting in Slicer's main thread while its windows stay alive."""

from __future__ import annotations

from typing import TypeVar

import slicer

from ..engine.run import ProgressCallback, Run

T = TypeVar("T")


def waitFor(run: Run[T], progress: ProgressCallback | None = None) -> T:
    """Wait for the run's result; see `Run.wait`."""
    return run.wait(progress, idle=letWindowsLive)


def letWindowsLive() -> None:
    """Let Slicer's windows react to the user, if there is a main window."""
    if slicer.util.mainWindow() is not None:
        slicer.app.processEvents()
