"""The client of the worker: starts it when needed, sends it requests, and survives its failures."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

from mednext.errors import EngineProcessError, InputError
from mednext.images.source_image import SourceImage
from mednext.remote.address import Server
from mednext.segmentation.result import Segmentation
from mednext.system.devices import Accelerator
from mednext.worker import protocol
from mednext.worker.batch_request import BatchJob, BatchOutcome
from mednext.worker.hand_over import ALL, HandedOver, Wishes
from mednext.worker.run_folder import emptying, run_folder

from .child_process import find_python
from .conversation import SILENCE_S, Conversation, DiedIdleError, OnEvent, Send
from .run import BUSY, PAUSE_S, WAITING, Run, Steps
from .worker_process import WorkerProcess

SHUTDOWN_S = 2.0

Taken = TypeVar("Taken")
Take = Callable[[Run[Any], HandedOver], Steps[Taken]]


class WorkerClient:
    """Keeps one worker, which stays warm between runs.

        client = shared_client()
        segmentation = client.start(channels, protocol.Order("hippocampus")).wait()

    Runs are carried out one after the other. After a failure the next run starts a new worker if need be.
    No method raises before a run's `result`. All methods are for Slicer's main thread.

    Args:
        python: the Python to start; by default `find_python()`.
        silence_s: seconds of silence after which a worker counts as hung and is killed.
        server: the server on which the runs are carried out; None for this computer.

    Attributes:
        release_after_s: seconds without a run after which the worker frees the device.
        process: the present or last worker; None before the first.
    """

    def __init__(
        self, python: str | None = None, *, silence_s: float = SILENCE_S, server: Server | None = None
    ) -> None:
        self.release_after_s = protocol.RELEASE_AFTER_S
        self._python = python
        self.silence_s = silence_s
        self.server = server
        self._numbers = itertools.count(1)
        self._line: list[Run[Any]] = []  # the first run has the worker
        self.process: WorkerProcess | None = None
        self._runs: WeakSet[Run[Any]] = WeakSet()  # keeps no large result alive

    def prepare(self) -> None:
        """Start the worker, so that torch is imported when the first run comes. Returns at once."""
        with suppress(EngineProcessError):  # the first run reports it
            self._running_process()

    def start(self, channels: Sequence[SourceImage], order: protocol.Order) -> Run[Segmentation]:
        """Begin to segment. The arrays must not change until they are written."""
        return Run(lambda run: self.segmenting(run, channels, order, ALL, _in_memory))

    def segmenting(
        self,
        run: Run[Any],
        channels: Sequence[SourceImage],
        order: protocol.Order,
        wishes: Wishes,
        take: Take[Taken],
    ) -> Steps[Taken]:
        """The steps of a run that segments, and then of `take`, whose outcome they return.

        `take` gets the result while its files exist, and should often call `run.check_cancelled`.
        """
        yield from self._turn_of(run)
        try:
            with run_folder() as folder:
                number = next(self._numbers)
                run.report(protocol.progress_event(number, "sending"))
                self._running_process()  # it imports torch meanwhile
                for _ in protocol.writing_request(folder, channels, order, wishes):
                    run.check_cancelled()
                    yield BUSY
                yield from self.asking(
                    run, protocol.SegmentRequest(number, str(folder), self.release_after_s, self.server)
                )
                taken = yield from take(run, HandedOver.read(folder))
                for _ in emptying(folder):
                    yield BUSY
            return taken
        finally:
            self._line.remove(run)

    def batching(
        self, run: Run[Any], job: BatchJob, channelsOf: Callable[[str], Sequence[SourceImage]]
    ) -> Steps[BatchOutcome]:
        """The steps of a batch, which report its rows as events.

        `channelsOf` returns the channels of a scene's case by its name, when the worker asks for them; an
        `InputError` in it becomes the case's row. Raises the errors of `worker.batch.carry_out`.
        """
        yield from self._turn_of(run)
        try:
            with run_folder() as folder:
                number = next(self._numbers)
                job.write(folder)

                def provide(event: protocol.Message, send: Send) -> Steps[None]:
                    if event["event"] == "row":
                        run.report(event)
                        return
                    case = folder / f"case_{next(self._numbers)}"
                    case.mkdir()
                    try:
                        run.report(protocol.progress_event(number, "sending"))
                        for _ in protocol.writing_request(case, channelsOf(event["case"]), job.order, ALL):
                            run.check_cancelled()
                            yield BUSY
                    except InputError as error:
                        told = json.dumps(protocol.error_event(None, error))
                        (case / protocol.ERROR_FILE).write_text(told, encoding="utf-8")
                    send(protocol.ProvideRequest(number, str(case)))

                request = protocol.BatchRequest(number, str(folder), self.release_after_s, self.server)
                yield from self.asking(run, request, provide)
                return BatchOutcome.read(folder)
        finally:
            self._line.remove(run)

    def greeting(self) -> Run[protocol.Greeting]:
        """Begin to test the connection to the server; the result tells of the server and its models."""
        return Run(self._greeting)

    def _greeting(self, run: Run[protocol.Greeting]) -> Steps[protocol.Greeting]:
        assert self.server
        greetings: list[protocol.Greeting] = []

        def hear(event: protocol.Message, _send: Send) -> Steps[None]:
            greetings.append(protocol.Greeting.from_event(event))
            yield BUSY

        yield from self._turn_of(run)
        try:
            yield from self.asking(run, protocol.GreetRequest(next(self._numbers), self.server), hear)
        finally:
            self._line.remove(run)
        return greetings[0]

    def asking(self, run: Run[Any], request: protocol.Work, onEvent: OnEvent | None = None) -> Steps[None]:
        """The steps of a request until its last answer. Raises the engine's error, or EngineProcessError."""
        while True:
            before, process = self.process, self._running_process()
            fresh = process is not before
            conversation = Conversation(process, run, request, self.silence_s, fresh, onEvent)
            try:
                yield from conversation.steps()
                return
            except DiedIdleError:  # a new worker gets the request
                continue

    def accelerators(self) -> tuple[Accelerator, ...] | None:
        """The devices beside the CPU; None until the worker, which has torch, has reported them."""
        if self.process is None:
            return None
        self.process.hear()
        return self.process.accelerators

    def log(self) -> list[str]:
        """The lines of the present or last worker that were not events."""
        if self.process is None:
            return []
        self.process.hear()
        return list(self.process.log)

    def shutdown(self) -> None:
        """Cancel all runs and end the worker. The client stays usable."""
        runs = list(self._runs)
        for run in runs:
            run.cancel()
        if self.process:
            self.process.kill()
        until = time.monotonic() + SHUTDOWN_S
        while any(not run.finished for run in runs) and time.monotonic() < until:
            for run in runs:
                run.advance()
            time.sleep(PAUSE_S)
        if self.process:
            self.process.wait_for_end()

    def _turn_of(self, run: Run[Any]) -> Steps[None]:
        """Wait for the other runs. The caller removes its run from the line afterwards."""
        self._runs.add(run)
        self._line.append(run)
        try:
            while self._line[0] is not run:
                run.check_cancelled()
                self._line[0].advance()  # its own caller may have stopped advancing it
                yield WAITING
        except BaseException:  # boundary: whatever ends the waiting, the line goes on without it
            self._line.remove(run)
            raise

    def _running_process(self) -> WorkerProcess:
        if not self.process or not self.process.alive:
            self.process = WorkerProcess(self._python or find_python(), engine=self.server is None)
        return self.process


def _in_memory(run: Run[Any], result: HandedOver) -> Steps[Segmentation]:
    yield BUSY
    run.check_cancelled()
    return result.segmentation()


@functools.cache
def shared_client() -> WorkerClient:
    """The one client of this process for runs on this computer; its worker ends with the process."""
    return _ending_with_this_process(WorkerClient())


@functools.cache
def remote_client(server: Server) -> WorkerClient:
    """The one client of this process for runs on this server."""
    return _ending_with_this_process(WorkerClient(server=server))


def client_for(server: Server | None) -> WorkerClient:
    """The client for runs on a server, or on this computer."""
    return shared_client() if server is None else remote_client(server)


def _ending_with_this_process(client: WorkerClient) -> WorkerClient:
    atexit.register(client.shutdown)
    return client
