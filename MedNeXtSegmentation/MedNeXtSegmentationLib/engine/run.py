"""Work on its way: to be asked now and then by the panel, or waited for in the console."""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mednext.cancellation import check_cancelled
from mednext.errors import EngineProcessError, MedNeXtError

logger = logging.getLogger(__name__)

POLL_S = 0.05
PROVIDE_S = 0.02  # more would be felt

ProgressCallback = Callable[[dict[str, Any]], None]
Result = TypeVar("Result")


class Run(Generic[Result]):
    """Carries out one piece of work in a thread of its own, which touches neither Qt nor MRML.

        run = client.start(channels, Options("hippocampus"))
        segmentation = run.wait()            # the console
        for event in run.poll(): ...         # a timer, until run.finished; then run.result()

    Everything below but `report` is for one thread, Slicer's main thread, and but for `wait` returns at once.
    """

    def __init__(
        self,
        carry_out: Callable[[Run[Result]], Result],
        provide: Callable[[float], object] = lambda _until: None,
    ) -> None:
        """`provide` is called by the main thread, and may work until that moment of `time.monotonic`."""
        self._carry_out = carry_out
        self._provide = provide
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancel = threading.Event()
        self._outcome: Result | MedNeXtError | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self._provide(time.monotonic() + PROVIDE_S)

    def poll(self) -> list[dict[str, Any]]:
        """The progress events since the last call (see `mednext.protocol`), oldest first."""
        self._provide(time.monotonic() + PROVIDE_S)
        time.sleep(0.001)  # an application that keeps Python's lock in its event loop lets the threads go on
        return self._new_events()

    @property
    def finished(self) -> bool:
        """Whether there is a result or an error."""
        return not self._thread.is_alive()

    def result(self) -> Result:
        """What a finished run came to.

        Raises the `MedNeXtError` that ended the run, `Cancelled` after `cancel`.
        """
        if isinstance(self._outcome, EngineProcessError):
            logger.error("%s\n%s", self._outcome, "\n".join(getattr(self._outcome, "__notes__", [])))
        if isinstance(self._outcome, MedNeXtError):
            raise self._outcome
        assert self._outcome is not None, "the run is not finished"
        return self._outcome

    def wait(
        self, progress: ProgressCallback | None = None, idle: Callable[[], object] | None = None
    ) -> Result:
        """The result, once it is there; `progress` gets the progress events, `idle` is called in between.

        An exception in one of the two and Ctrl+C cancel the run. Raises the errors of `result`.
        """
        try:
            while not self.finished:
                self._provide(time.monotonic() + PROVIDE_S)
                self._thread.join(POLL_S)
                self._tell(progress)
                if idle:
                    idle()
            self._tell(progress)
        finally:
            if not self.finished:
                self.cancel()
                self._thread.join()
        return self.result()

    def cancel(self) -> None:
        """Ask for the end; within 2 s the run is finished."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether the end was asked for."""
        return self._cancel.is_set()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` once the end was asked for."""
        check_cancelled(self._cancel.is_set)

    def join(self, timeout_s: float) -> None:
        """Wait until the run is finished, but not longer than so many seconds."""
        self._thread.join(timeout_s)

    def report(self, event: dict[str, Any]) -> None:
        """Called by the run's thread: hand a progress event to whoever asks."""
        self._events.put(event)

    def _tell(self, progress: ProgressCallback | None) -> None:
        for event in self._new_events():
            if progress:
                progress(event)

    def _new_events(self) -> list[dict[str, Any]]:
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def _work(self) -> None:
        try:
            self._outcome = self._carry_out(self)
        except MedNeXtError as error:
            self._outcome = error
        except Exception as error:  # noqa: BLE001  # boundary: a thread's traceback would be printed through Qt
            self._outcome = EngineProcessError(f"The run failed by a fault of this program: {error!r}.")
            self._outcome.add_note(traceback.format_exc())
