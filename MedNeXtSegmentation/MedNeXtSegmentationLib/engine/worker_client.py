"""Segments through the worker: starts it when it is needed, asks it, and survives whatever happens to it."""

from __future__ import annotations

import atexit
import functools
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakSet

from mednext import protocol
from mednext.devices import Accelerator
from mednext.errors import EngineProcessError
from mednext.segmentation import Segmentation

from .run import POLL_S, Run
from .run_folder import remove_leftovers, run_folder
from .voxel_feed import VoxelFeed
from .worker_process import WorkerProcess, find_python

SILENCE_S = 120.0  # importing torch from a cold disk stops the heartbeat for long; Cancel never waits for it
CANCEL_ANSWER_S = 1.2
SHUTDOWN_S = 2.0


Channels = Sequence[protocol.Channel] | Callable[[], Sequence[protocol.Channel]]
Prepare = Callable[[Segmentation, Callable[[], bool]], None]


class WorkerClient:
    """Keeps one worker, which stays warm between runs.

        client = shared_client()
        segmentation = client.start(channels, protocol.Options("hippocampus")).wait()

    Runs are carried out one after the other. After a run that ended badly the next one starts a new worker if
    need be. Nothing here raises before a run's `result`.

    Args:
        python: the Python to start; by default `find_python()`.
        silence_s: a worker that is silent for so many seconds has hung, and is killed.

    Attributes:
        release_after_s: after so many seconds without a run the worker frees the device.
    """

    def __init__(self, python: str | None = None, *, silence_s: float = SILENCE_S) -> None:
        self.release_after_s = protocol.RELEASE_AFTER_S
        self._python = python
        self._silence_s = silence_s
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        self._preparing: threading.Thread | None = None
        self._process: WorkerProcess | None = None
        self._runs: WeakSet[Run[Segmentation]] = WeakSet()  # a large result goes with whoever asked for it
        self._cleaned = False

    def prepare(self) -> None:
        """Start the worker, so that torch is imported when the first run comes. Returns at once."""
        self._preparing = threading.Thread(target=self._prepare, daemon=True)
        self._preparing.start()

    def start(
        self,
        channels: Channels,
        options: protocol.Options,
        prepare: Prepare | None = None,
    ) -> Run[Segmentation]:
        """Begin to segment; what is an array and no `VoxelFeed` must not change until that is written.

        `channels` may be a function that reads them from files, in the run's thread. `prepare` is called
        with the result in the run's thread, before the run is finished, and with what tells whether the run
        was cancelled.
        """
        carry_out = functools.partial(self._segment, channels, options, prepare)
        run = Run(carry_out, functools.partial(_copy, [] if callable(channels) else _feeds(channels)))
        self._runs.add(run)
        return run

    def accelerators(self) -> tuple[Accelerator, ...] | None:
        """The devices beside the CPU; None until the worker has told them, since only torch knows."""
        return self._process.accelerators if self._process else None

    def log(self) -> list[str]:
        """What the present worker, or the last one, said besides its events."""
        return list(self._process.log) if self._process else []

    def shutdown(self) -> None:
        """Cancel all runs and end the worker; the client can be used again."""
        runs = list(self._runs)
        for run in runs:
            run.cancel()
        if self._process:
            self._process.kill()
        for run in runs:
            run.join(SHUTDOWN_S)
        if self._preparing:  # the worker that it may have started meanwhile ends, too
            self._preparing.join(SHUTDOWN_S)
            if self._process:
                self._process.kill()

    def _prepare(self) -> None:
        with self._turn:
            try:
                self._running_process()
            except EngineProcessError:
                return  # the first run says so

    def _segment(
        self,
        channels: Channels,
        options: protocol.Options,
        prepare: Prepare | None,
        run: Run[Segmentation],
    ) -> Segmentation:
        if callable(channels):
            channels = channels()
        with self._turn_of(run), run_folder() as folder:
            number = next(self._numbers)
            run.report(protocol.progress_event(number, "sending"))
            process = self._running_process()
            for feed in _feeds(channels):
                feed.check_with(run.check_cancelled)
            protocol.write_request(folder, channels, options, lambda: run.cancelled)
            request = protocol.SegmentRequest(number, str(folder), self.release_after_s)
            _Conversation(process, run, request, self._silence_s).hold()
            segmentation = protocol.read_result(folder, lambda: run.cancelled)
        if prepare:
            prepare(segmentation, lambda: run.cancelled)
        run.check_cancelled()
        return segmentation

    @contextmanager
    def _turn_of(self, run: Run[Segmentation]) -> Iterator[None]:
        """Wait until no other run is on its way."""
        while not self._turn.acquire(timeout=POLL_S):
            run.check_cancelled()
        try:
            yield
        finally:
            self._turn.release()

    def _running_process(self) -> WorkerProcess:
        if not self._cleaned:
            remove_leftovers()
            self._cleaned = True
        if not self._process or not self._process.alive:
            self._process = WorkerProcess(self._python or find_python())
        return self._process


class _Conversation:
    """One request, and what the worker says to it until its last word."""

    def __init__(
        self,
        process: WorkerProcess,
        run: Run[Segmentation],
        request: protocol.SegmentRequest,
        silence_s: float,
    ) -> None:
        self._process = process
        self._run = run
        self._request = request
        self._silence_limit_s = silence_s
        self._asked = False
        self._give_up: float | None = None  # when to stop waiting for the answer to a cancel

    def hold(self) -> None:
        """Ask, and return when the result is there. Raises the engine's error or EngineProcessError."""
        self._ask()
        silence_s = 0.0
        while True:
            self._cancel_if_wanted()
            try:
                event = self._process.events.get(timeout=POLL_S)
            except queue.Empty:
                silence_s += POLL_S  # not by the clock: a computer that slept is not a worker that hung
                if silence_s > self._silence_limit_s:
                    raise self._explain_silence() from None
                continue
            silence_s = 0.0
            if self._is_last(event):
                return

    def _ask(self) -> None:
        if self._process.greeted and not self._asked:
            self._asked = True
            self._process.send(self._request)

    def _cancel_if_wanted(self) -> None:
        if not self._run.cancelled:
            return
        if not self._asked:
            self._run.check_cancelled()
        if self._give_up is None:
            self._give_up = time.monotonic() + CANCEL_ANSWER_S
            self._process.send(protocol.CancelRequest(self._request.run))
        elif time.monotonic() > self._give_up:
            self._process.kill()
            self._run.check_cancelled()

    def _is_last(self, event: protocol.Message | None) -> bool:
        """Take one event in; whether it is the last of the run. Raises the error that it carries."""
        if event is None:
            self._run.check_cancelled()
            raise self._process.explain_end()
        kind, ours = event["event"], event.get("run") == self._request.run
        if kind == "hello":
            self._greet(event)
        elif kind == "progress" and ours:
            self._run.report(event)
        elif kind == "error" and (ours or event.get("run") is None):
            raise protocol.error_from_event(event)
        return kind == "done" and ours

    def _greet(self, event: protocol.Message) -> None:
        if event.get("protocol") != protocol.VERSION:
            self._process.kill()
            raise EngineProcessError(
                f"The worker speaks version {event.get('protocol')} of the protocol, this module version "
                f"{protocol.VERSION}: two versions of the extension are mixed. Restart Slicer; if that does "
                "not help, install the extension again."
            )
        self._process.greeted = True
        self._ask()

    def _explain_silence(self) -> EngineProcessError:
        self._process.kill()
        error = EngineProcessError(
            f"The worker had not been heard of for {self._silence_limit_s:g} s and was ended. The scene is "
            "unchanged, and the next run starts a new worker; details are in Slicer's log."
        )
        error.add_note("\n".join(self._process.log))
        return error


def _feeds(channels: Sequence[protocol.Channel]) -> list[VoxelFeed]:
    return [channel.array for channel in channels if isinstance(channel.array, VoxelFeed)]


def _copy(feeds: Sequence[VoxelFeed], until: float) -> None:
    """Let the main thread copy what the run's thread will read."""
    all(feed.copy(until) for feed in feeds)


@functools.cache
def shared_client() -> WorkerClient:
    """The client of this process; its worker ends with the process."""
    client = WorkerClient()
    atexit.register(client.shutdown)
    return client
