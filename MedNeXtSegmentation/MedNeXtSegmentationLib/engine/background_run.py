"""Work in the background: a Qt timer asks how far it is, and calls back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from .run import ProgressCallback, Run

INTERVAL_MS = 100


class BackgroundRun:
    """Follows a run from Slicer's main thread; all callbacks are called there.

    onProgress: gets the run's events, dictionaries.
    onDone: gets the result.
    onError: gets whatever ended the run, `mednext.errors.Cancelled` too; without it, that is raised in the
        event loop, which shows it in the Python console.
    """

    def __init__(
        self,
        run: Run[Any],
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[Any], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
    ) -> None:
        self._run = run
        self._onProgress = onProgress
        self._onDone = onDone
        self._onError = onError
        self.running = True
        self._askLater()

    def cancel(self) -> None:
        """Ask for the end; within 2 s `onError` gets `Cancelled`."""
        self._run.cancel()

    def _outcome(self) -> Any:
        return self._run.result()

    def _askLater(self) -> None:
        qt.QTimer.singleShot(INTERVAL_MS, self._ask)

    def _ask(self) -> None:
        finished = self._run.finished  # before the events: those of a finished run are complete
        if not finished:
            self._askLater()
        for event in self._run.poll():
            if self._onProgress:
                self._onProgress(event)
        if finished:
            self.running = False
            self._finish()

    def _finish(self) -> None:
        try:
            outcome = self._outcome()
        except Exception as error:  # boundary: the panel must hear of every failure, or it waits for ever
            if not self._onError:
                raise
            self._onError(error)
            return
        if self._onDone:
            self._onDone(outcome)
