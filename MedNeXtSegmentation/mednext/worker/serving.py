"""The worker, `python -m mednext.worker`: the engine in a process of its own, ready between runs.

Slicer's own process never imports torch, since a crash of torch would end Slicer and lose unsaved work. It
starts this program with Slicer's Python instead, and talks to it in the protocol of `protocol.py`.

Three threads: the main one imports torch and segments, one run after the other; one listens, so that a cancel
takes effect at once; one sends heartbeats. The process ends when its input is closed or its parent process
has ended, whatever torch is doing.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import (
    Cancelled,
    DeviceLostError,
    EngineProcessError,
    MedNeXtError,
    OutOfMemoryError,
)
from ..inference.loaded_networks import LoadedNetworks
from ..system.cancellation import check_cancelled
from ..system.child_processes import guard_this_process
from ..system.devices import accelerators
from ..system.failed_import import explained
from ..system.memory_settings import end_without_search, give_memory_back
from ..system.running_processes import is_running
from . import protocol
from .run_folder import remove_leftovers

if TYPE_CHECKING:
    from ..inference.progress import Progress

Cancelling = Callable[[], bool]


class Worker:
    """Answers the requests of one client.

    Args:
        events: the stream for the events.
        engine: import torch at once; a client of a server needs none.
    """

    def __init__(self, events: TextIO, engine: bool = True) -> None:
        self.say = speaker(events)
        self._engine = engine
        self._ready = False
        self._busy = True
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._waiting: dict[int, protocol.Work] = {}  # requests that have not begun
        self._provided: queue.SimpleQueue[str] = queue.SimpleQueue()  # folders that a batch has asked for
        self._cancelled: set[int] = set()
        self._networks = LoadedNetworks()
        self._release_after_s = protocol.RELEASE_AFTER_S

    def work(self) -> int:
        """Import the engine, then answer requests until the process ends; return an exit code."""
        try:
            torch_version = import_engine() if self._engine else ""
        except Exception as error:  # noqa: BLE001  # boundary: a broken installation raises anything
            self.say(protocol.error_event(None, explained(error), traceback.format_exc()))
            return EngineProcessError.exit_code
        self._ready = True
        self.say({"event": "ready", "torch": torch_version})
        devices = accelerators() if self._engine else ()
        self.say({"event": "devices", "devices": [asdict(device) for device in devices]})
        while True:
            self._busy = False
            try:
                run = self._queue.get(timeout=self._release_after_s if self._networks else None)
            except queue.Empty:
                self._release()
                continue
            self._busy = True
            request = self._waiting.pop(run, None)
            if request:
                try:
                    self.say(self.answer(request))
                except DeviceLostError as error:  # only a new process can use the device again
                    self.say(protocol.error_event(run, error, traceback.format_exc()))
                    return error.exit_code
                give_memory_back()

    def listen(self, requests: Iterable[bytes]) -> None:
        """Take requests until the input ends, then end the process, since the client is gone."""
        for line in requests:
            try:
                request = protocol.parse_request(line)
            except EngineProcessError as error:
                self.say(protocol.error_event(None, error))
                continue
            if isinstance(request, protocol.CancelRequest):
                self._cancel(request.run)
            elif isinstance(request, protocol.ProvideRequest):
                self._provided.put(request.folder)
            else:
                self._waiting[request.run] = request
                self._queue.put(request.run)
                starting = protocol.progress_event(request.run, "starting")
                self.say({"event": "accepted", "run": request.run} if self._ready else starting)
        os._exit(0)

    def show_life(self, parent: int) -> None:
        """Send heartbeats while the process is busy, and end it when the process `parent` has ended."""
        while is_running(parent):
            if self._busy:
                self.say({"event": "heartbeat"})
            time.sleep(protocol.HEARTBEAT_S)
        os._exit(0)

    def _cancel(self, run: int) -> None:
        if self._waiting.pop(run, None):
            self.say(protocol.error_event(run, Cancelled("Cancelled by the user.")))
        else:
            self._cancelled.add(run)

    def answer(self, request: protocol.Work) -> protocol.Message:
        """Do a run and return its last event.

        Raises `DeviceLostError` and unexpected errors, which end the process: torch may be broken.
        """

        def cancelled() -> bool:
            return request.run in self._cancelled

        try:
            if isinstance(request, protocol.GreetRequest):
                self._greet(request, cancelled)
            elif isinstance(request, protocol.BatchRequest):
                self._batch(request, cancelled)
            else:
                self._segment(request, cancelled)
        except DeviceLostError:
            raise
        except MedNeXtError as error:
            return protocol.error_event(request.run, error, traceback.format_exc())
        except MemoryError:
            no_memory = OutOfMemoryError("There is not enough memory for this image. Close other programs.")
            return protocol.error_event(request.run, no_memory, traceback.format_exc())
        return {"event": "done", "run": request.run}

    def _greet(self, request: protocol.GreetRequest, cancelled: Cancelling) -> None:
        from ..remote.served_models import described_models, greet

        hello = greet(request.server, cancelled)
        models = described_models(request.server, hello, cancelled)
        self.say(protocol.Greeting(tuple(hello.lines), models).to_event(request.run))

    def _segment(self, request: protocol.SegmentRequest, cancelled: Cancelling) -> None:
        from ..images.volume import handed_over
        from ..remote.segmenter import segmenter
        from ..system.atomic import explaining
        from .hand_over import RESULT_FILE, HandedOver
        from .received_volume import received_volume

        def report(progress: Progress) -> None:
            check_cancelled(cancelled)
            self.say({"event": "progress", "run": request.run, **asdict(progress)})

        self._release_after_s = request.release_after_s
        self.say(protocol.progress_event(request.run, "reading"))
        folder = Path(request.folder)
        channels, order, wishes = protocol.read_request(folder)
        runs = segmenter(order.model, request.server, self._networks, order.description)
        segmentation = runs.segment(
            (received_volume(channel) for channel in handed_over(channels)), order.options, report, cancelled
        )
        with explaining(folder / RESULT_FILE):
            HandedOver.of(segmentation, wishes, cancelled).write(folder, cancelled)

    def _batch(self, request: protocol.BatchRequest, cancelled: Cancelling) -> None:
        from .batch import carry_out

        self._release_after_s = request.release_after_s
        self._provided = queue.SimpleQueue()
        carry_out(request, self.say, self._provided, cancelled, self._networks)

    def _release(self) -> None:
        """Free the device's memory for other programs."""
        import torch

        self._networks.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
        give_memory_back()
        self.say({"event": "released"})


def main(arguments: Sequence[str]) -> int:
    """Start the threads and work until the process ends; return the exit code."""
    parser = argparse.ArgumentParser(prog="mednext.worker", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process with which the worker ends")
    parser.add_argument("--without-engine", action="store_true", help="for runs on a server alone")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    guard_this_process()
    end_without_search()
    worker = Worker(take_standard_output(), engine=not options.without_engine)
    worker.say(protocol.hello_event())
    # Not sys.stdin: a waiting thread would hold its lock, and break the exit of a process that fails.
    requests = os.fdopen(sys.stdin.fileno(), "rb", buffering=0)
    threading.Thread(target=worker.listen, args=[requests], daemon=True).start()
    threading.Thread(target=worker.show_life, args=[options.parent], daemon=True).start()
    threading.Thread(target=remove_leftovers, daemon=True).start()  # of clients that crashed
    return worker.work()


def speaker(events: TextIO) -> Callable[[protocol.Message], None]:
    """Return a function that sends an event at once; without a client it ends the process."""
    speaking = threading.Lock()

    def say(event: protocol.Message) -> None:
        with speaking:
            try:
                events.write(protocol.format_message(event))
                events.flush()
            except OSError:
                os._exit(0)

    return say


def take_standard_output() -> TextIO:
    """Reserve standard output for events; output of libraries, also those in C, goes to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def import_engine() -> str:
    """Import all packages of a run, so that the first run need not wait; return the version of torch."""
    import safetensors.torch  # noqa: F401
    import torch

    from ..library import store  # noqa: F401
    from ..locating import segment  # noqa: F401
    from ..network import formulation  # noqa: F401

    return str(torch.__version__)
