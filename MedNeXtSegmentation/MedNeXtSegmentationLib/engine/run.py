"""A running piece of work, which Slicer's main thread advances in short steps.

It uses no thread. Slicer holds Python's lock in its event loop, so that a Python thread would run only while
the main thread executes Python. Processes of the engine do the work; a run only writes their input and reads
their output.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from mednext.errors import Cancelled, EngineProcessError, MedNeXtError
from mednext.system.cancellation import check_cancelled

logger = logging.getLogger(__name__)

STEP_S = 0.02  # longer steps would be felt
PAUSE_S = 0.02
INTERVAL_MS, BUSY_INTERVAL_MS = 100, 5

BUSY, WAITING = True, False

Result = TypeVar("Result")
Steps = Generator[bool, None, Result]  # yields BUSY if it can continue at once, else WAITING
ProgressCallback = Callable[[dict[str, Any]], None]


class Run(Generic[Result]):
    """Carries out one piece of work, for Slicer's main thread, in steps of some milliseconds.

        run = client.start(channels, Order("hippocampus"))
        segmentation = run.wait()              # the console
        run.follow(onDone=..., onError=...)    # Slicer's event loop
        for event in run.poll(): ...           # a timer, until run.finished; then run.result()

    It advances only through one of the three. All methods but `wait` and `end` return at once.
    """

    def __init__(self, steps: Callable[[Run[Any]], Steps[Result]]) -> None:
        """`steps` gets this run, to report events and to check for cancelling."""
        self._steps = steps(self)
        self._stepping = False
        self._events: list[dict[str, Any]] = []
        self._told_as: Callable[[dict[str, Any]], dict[str, Any]] = lambda event: event
        self._cancelled = False
        self._outcome: Result | MedNeXtError | None = None
        self._followed = False
        self.finished = False
        self.advance()

    def advance(self) -> bool:
        """Work for some milliseconds. Returns whether it can continue at once."""
        if self._stepping:  # called from an event loop inside of a step
            return WAITING
        self._stepping, until = True, time.monotonic() + STEP_S
        try:
            while not self.finished and time.monotonic() < until:
                if not self._step():
                    return WAITING
        finally:
            self._stepping = False
        return not self.finished

    def poll(self) -> list[dict[str, Any]]:
        """Work for some milliseconds, and return the progress events since the last call (see `protocol`)."""
        self.advance()
        events, self._events = self._events, []
        return events

    def result(self) -> Result:
        """The outcome of a finished run.

        Raises the `MedNeXtError` that ended the run, `Cancelled` after `cancel`.
        """
        if isinstance(self._outcome, EngineProcessError):
            logger.error("%s\n%s", self._outcome, "\n".join(getattr(self._outcome, "__notes__", [])))
        if isinstance(self._outcome, MedNeXtError):
            raise self._outcome
        assert self._outcome is not None, "the run is not finished"
        return self._outcome

    def wait(self, progress: ProgressCallback | None = None, live_windows: bool = False) -> Result:
        """Wait for the result. `progress` gets the progress events.

        live_windows: let Slicer's windows react to the user between steps.

        An exception in `progress`, and Ctrl+C, cancel the run. Raises the errors of `result`.
        """
        try:
            while not self.finished:
                busy = self.advance()
                self._tell(progress)
                if live_windows:
                    _process_events()
                if not busy and not self.finished:
                    time.sleep(PAUSE_S)
            self._tell(progress)
        finally:
            self.end()
        return self.result()

    def follow(
        self,
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[Result], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
    ) -> Run[Result]:
        """Let Slicer's event loop advance the run; returns the run.

        onProgress: gets the run's events, dictionaries.
        onDone: gets the result.
        onError: gets the error that ended the run, also `mednext.errors.Cancelled`. Without it the error is
            raised in the event loop, which shows it in the Python console.
        """
        import qt  # `wait` needs no event loop

        def askLater(busy: bool) -> None:
            qt.QTimer.singleShot(BUSY_INTERVAL_MS if busy else INTERVAL_MS, ask)

        def tell(event: dict[str, Any]) -> None:
            if self._followed and onProgress:
                onProgress(event)

        def ask() -> None:
            busy = self.advance()
            if not self.finished:
                askLater(busy)  # before the callback, so that the run continues whatever that does
            self._tell(tell)
            if not self.finished or not self._followed:
                return
            self._followed = False
            try:
                result = self.result()
            except MedNeXtError as error:
                if not onError:
                    raise
                onError(error)
                return
            if onDone:
                onDone(result)

        self._followed = True
        askLater(BUSY)
        return self

    @property
    def running(self) -> bool:
        """Whether the event loop advances the run and has called neither `onDone` nor `onError` yet."""
        return self._followed

    def unfollow(self) -> None:
        """Call none of the callbacks of `follow` any more; the event loop still advances the run."""
        self._followed = False

    def cancel(self) -> None:
        """Ask the run to end, which takes up to 2 s."""
        self._cancelled = True

    def end(self) -> None:
        """Cancel the run unless it is finished, and wait for its end."""
        while not self.finished:
            self.cancel()
            if not self.advance():
                time.sleep(PAUSE_S)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def check_cancelled(self) -> None:
        """Raise `Cancelled` after `cancel`."""
        check_cancelled(lambda: self._cancelled)

    def report(self, event: dict[str, Any]) -> None:
        """For the steps: pass a progress event to the caller."""
        self._events.append(self._told_as(event))

    @contextmanager
    def telling(self, told_as: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
        """For the steps: within the block this function converts the events."""
        before, self._told_as = self._told_as, told_as
        try:
            yield
        finally:
            self._told_as = before

    def _tell(self, progress: ProgressCallback | None) -> None:
        events, self._events = self._events, []
        for event in events:
            if progress:
                progress(event)

    def _step(self) -> bool:
        """Do one step. Returns whether the next one can follow at once."""
        try:
            return next(self._steps)
        except StopIteration as end:
            self._finish(end.value)
        except MedNeXtError as error:
            self._finish(error)
        except Exception as error:  # noqa: BLE001  # boundary: the caller must get every failure
            fault = EngineProcessError(f"The run failed by a fault of this program: {error!r}.")
            fault.add_note(traceback.format_exc())
            self._finish(fault)
        except BaseException:  # boundary: Ctrl+C ends the run, and is raised again
            self._finish(Cancelled("Cancelled by the user."))
            raise
        return WAITING

    def _finish(self, outcome: Any) -> None:
        self._outcome = outcome
        self.finished = True


def _process_events() -> None:
    import slicer  # runs outside of Slicer need no windows

    if slicer.util.mainWindow() is not None:
        slicer.app.processEvents()
