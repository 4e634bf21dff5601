"""The program of one worker of a batch: `python -m mednext.worker.crew.hand`; see `job` for its messages.

It ends with its standard input, so that no worker outlives its batch.
"""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ... import __version__
from ...batch.agenda import Task
from ...batch.case import Case
from ...batch.report import Row
from ...batch.run import Batch
from ...dicomweb.archive import is_address
from ...errors import Cancelled, MedNeXtError, OptionError
from ...remote.segmenter import segmenter
from ...system.cancellation import POLL_S, check_cancelled
from ...system.child_processes import guard_this_process
from ...system.json_values import from_json
from ...system.memory_settings import end_without_search, give_memory_back
from ..protocol import error_event
from ..segmenting_batch import segmenting_batch
from ..serving import speaker, take_standard_output
from .job import CrewJob, Message

Make = Callable[[CrewJob, Callable[[], bool]], AbstractContextManager[Batch]]


class Hand:
    """Takes cases from the scheduler, and tells it their rows: the batch's source and records in one."""

    def __init__(self, say: Callable[[Message], None]) -> None:
        self._say = say
        self._given: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._wanting = False
        self._over = False
        self._taken: set[Task] = set()

    @property
    def cancelled(self) -> Callable[[], bool]:
        """Whether the batch was cancelled."""
        return self._cancelled.is_set

    def listen(self, lines: Iterable[bytes]) -> None:
        """Take messages until the input ends, then end the process, since the scheduler is gone."""
        for line in lines:
            if not line.endswith(b"\n"):  # the scheduler was killed in the middle of a message
                break
            message = json.loads(line)
            if "cancel" in message:
                self._cancelled.set()
            else:
                self._given.put(None if "end" in message else message)
        os._exit(0)

    def take(self, wait_for_others: bool = False) -> Task | None:
        """The next case; None when there is none yet, or, after waiting, none any more."""
        if self._over:
            return None
        if not self._wanting:
            self._wanting = True
            self._say({"event": "wants"})
        if wait_for_others and self._given.empty():
            _release_memory()  # another worker may need it
        while True:
            check_cancelled(self.cancelled)
            try:
                message = self._given.get(timeout=POLL_S) if wait_for_others else self._given.get_nowait()
            except queue.Empty:
                if not wait_for_others:
                    return None
                continue
            self._wanting = False
            if message is None:
                self._over = True
                return None
            task = Task(message["number"], from_json(Case, message["case"]), Path(message["target"]))
            self._taken.add(task)
            return task

    def release(self, task: Task) -> None:
        """Remove retrieved images; the scheduler holds the locks."""
        self._taken.discard(task)
        task.held.close()

    def close(self) -> None:
        """Release the cases that are left after an error."""
        for task in list(self._taken):
            self.release(task)

    def put(self, task: Task, row: Row) -> None:
        """Tell the scheduler the row of a case."""
        self._say({"event": "row", "number": task.number, "row": asdict(row)})

    def catch_up(self) -> None:
        """Do nothing: the scheduler writes the report."""


def main(make: Make | None = None) -> int:
    """Work until there are no more cases; return the exit code."""
    faulthandler.enable()
    guard_this_process()
    end_without_search()
    say = speaker(take_standard_output())
    requests = os.fdopen(sys.stdin.fileno(), "rb", buffering=0)  # not sys.stdin: see serving.main
    hand = Hand(say)
    try:
        job = CrewJob.read(json.loads(requests.readline() or b"null")["job"])
        _check_folders(job)
        with (make or _segmenting)(job, hand.cancelled) as batch:
            say(
                {
                    "event": "ready",
                    "mednext": __version__,
                    "machine": platform.node(),
                    "recipe": dict(batch.recipe),
                }
            )
            threading.Thread(target=hand.listen, args=[requests], daemon=True).start()
            threading.Thread(target=_show_life, args=[say, job.alive_s], daemon=True).start()
            batch.work(hand, hand)
    except Cancelled:
        return Cancelled.exit_code
    except MedNeXtError as error:
        say(error_event(None, error, traceback.format_exc()))
        return error.exit_code
    finally:
        hand.close()
    return 0


def _segmenting(job: CrewJob, cancelled: Callable[[], bool]) -> AbstractContextManager[Batch]:
    runs = segmenter(job.order.model)
    return segmenting_batch(
        job.output, runs, job.order.options, job.archives, resume=job.resume, cancelled=cancelled
    )


def _check_folders(job: CrewJob) -> None:
    """Refuse to work on a machine that does not see the images and the results."""
    for path, shown in ((Path(job.place), job.place), (job.output / job.probe, job.output)):
        if not (path.exists() or is_address(str(shown))):
            raise OptionError(
                f"The machine {platform.node()} does not see {shown}: give folders that all machines "
                "see under the same path."
            )


def _show_life(say: Callable[[Message], None], pause_s: float) -> None:
    while True:
        time.sleep(pause_s)
        say({"event": "alive"})


def _release_memory() -> None:
    torch: Any = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    give_memory_back()


if __name__ == "__main__":
    sys.exit(main())
