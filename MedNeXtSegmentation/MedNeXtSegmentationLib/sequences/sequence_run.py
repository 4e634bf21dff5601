"""One run after the other, frame by frame, as if it were one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mednext.errors import Cancelled, MedNeXtError
from mednext.segmentation import Segmentation

from ..engine.run import POLL_S, ProgressCallback, Run

CANCEL_S = 2.0

Take = Callable[[Segmentation], object]
StartFrame = Callable[[int], tuple[Run[Segmentation], Take]]


class SequenceRun:
    """What `Run` is for one volume; everything is called by Slicer's main thread.

    count: of the frames.
    start: begins a frame; the run, and who takes its result.
    title: what a person calls a frame, for errors.

    Events are those of a run, with "frame" and "frames" besides; "done", "total" and "remaining_s" are of all
    frames.
    """

    def __init__(self, count: int, start: StartFrame, title: Callable[[int], str]) -> None:
        self._count = count
        self._start = start
        self._title = title
        self._frame = -1
        self._begun = time.monotonic()
        self._error: Exception | None = None
        self._cancelled = False
        self._run: Run[Segmentation] | None = None
        self._take: Take = lambda _segmentation: None
        self._next()

    def poll(self) -> list[dict[str, Any]]:
        """The progress events since the last call; begins the next frame when one is done."""
        run = self._run
        if run is None:
            return []
        finished = run.finished
        events = [self._ofAll(event) for event in run.poll()]
        if finished:
            self._finishFrame(run)
        return events

    @property
    def finished(self) -> bool:
        """Whether all frames are done, or one of them failed."""
        return self._run is None

    def result(self) -> bool:
        """True once all frames are done. Raises the error that ended the run, `Cancelled` after `cancel`."""
        if self._error:
            raise self._error
        return True

    def wait(
        self, progress: ProgressCallback | None = None, idle: Callable[[], object] | None = None
    ) -> bool:
        """As `Run.wait`."""
        try:
            while not self.finished:
                for event in self.poll():
                    if progress:
                        progress(event)
                if idle:
                    idle()
                if self._run:
                    self._run.join(POLL_S)
        finally:
            if self._run:
                self.cancel()
                self._run.join(CANCEL_S)
        return self.result()

    def cancel(self) -> None:
        """Ask for the end; within 2 s the run is finished."""
        self._cancelled = True
        if self._run:
            self._run.cancel()

    def _next(self) -> None:
        self._frame += 1
        self._run = None
        if self._cancelled:
            self._error = Cancelled("Cancelled by the user.")
        elif self._frame < self._count:
            self._run, self._take = self._start(self._frame)

    def _finishFrame(self, run: Run[Segmentation]) -> None:
        try:
            self._take(run.result())
            self._next()
        except Cancelled as error:
            self._run, self._error = None, error
        except MedNeXtError as error:
            self._run, self._error = None, type(error)(f"{self._title(self._frame)}: {error}")
        except Exception as error:  # noqa: BLE001  # boundary: who waits for the run must hear of every failure
            self._run, self._error = None, error

    def _ofAll(self, event: dict[str, Any]) -> dict[str, Any]:
        frames = {"frame": self._frame + 1, "frames": self._count}
        if event["stage"] != "network":
            return {**event, **frames, "remaining_s": None}
        total = event["total"] * self._count
        done = event["total"] * self._frame + event["done"]
        elapsed = time.monotonic() - self._begun
        remaining = elapsed / done * (total - done) if done else None
        return {**event, **frames, "done": done, "total": total, "remaining_s": remaining}
