"""Give the cases of a batch to its workers, one by one, and do again those of a worker that died.

The scheduler holds the locks and writes the report; the workers read, segment and write. A case whose worker
died, or found too little memory beside the others, is done again at the end, by one worker while the others
rest. A case that ends two workers which had no other fails, and the others go on. Cases of a lost machine are
given to another one at once.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ... import __version__
from ...batch.agenda import Agenda, Task
from ...batch.case_outcome import failed
from ...batch.report import Row
from ...batch.run import Ledger
from ...errors import BundleError, EngineProcessError, MedNeXtError, OptionError, OutOfMemoryError
from ...system.cancellation import POLL_S, check_cancelled
from ...system.json_values import to_json
from ..protocol import error_from_event
from .job import Message

SILENCE_S = 120.0  # a worker without a sign of life is ended
_CLOSING_S = 60.0  # for the results that are being written when a batch is cancelled
_DEATHS = 2  # of workers that had only one case, before it fails
_STARTS = 3  # attempts to start a worker
_LOSSES = 5  # machines that a case may lose before it fails

logger = logging.getLogger(__name__)


class Worker(Protocol):
    """A worker as the scheduler sees it; its events arrive in the crew's queue."""

    name: str

    def send(self, message: Message) -> None: ...

    def kill(self) -> None: ...


class Crew(Protocol):
    """Starts workers.

    The last event of each is {"event": "ended", "code": exit code} where its process ended, and
    {"event": "lost"} where its machine was lost.
    """

    size: int

    def start(self, place: int, tell: Callable[[Message], None]) -> Worker: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class _Member:
    """A place of the crew, with the worker that now has it."""

    place: int
    worker: Worker | None = None
    hired: object = None  # tells the events of this worker from those of former ones
    ready: bool = False
    wants: bool = False
    starts: int = 0  # in vain, since the last that became ready
    heard: float = 0.0
    tasks: dict[int, Task] = field(default_factory=dict)


class Schedule:
    """Leads a crew through the cases of an agenda."""

    def __init__(
        self,
        agenda: Agenda,
        ledger: Ledger,
        crew: Crew,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._agenda = agenda
        self._ledger = ledger
        self._crew = crew
        self._cancelled = cancelled
        self._events: queue.SimpleQueue[tuple[_Member, object, Message]] = queue.SimpleQueue()
        self._members = [_Member(place) for place in range(crew.size)]
        self._again: deque[Task] = deque()
        self._alone: deque[Task] = deque()
        self._deaths: Counter[int] = Counter()
        self._short_of_memory: set[int] = set()
        self._losses: Counter[int] = Counter()
        self._looked = 0.0

    def run(self) -> None:
        """Finish all cases.

        Raises:
            Cancelled: `cancelled` answered True; finished cases stay.
            MedNeXtError: no worker could work; the error of the last one.
        """
        try:
            for member in self._members:
                self._start(member)
            while not self._is_done():
                self._feed()
                self._take_event()
            for member in self._working():
                self._send(member, {"end": True})
            self._await_ends()
        finally:
            self._close()

    def _start(self, member: _Member) -> None:
        member.ready = member.wants = False
        member.starts += 1
        member.heard = time.monotonic()
        member.hired = hired = object()
        try:
            member.worker = self._crew.start(
                member.place, lambda message: self._events.put((member, hired, message))
            )
        except MedNeXtError as error:
            member.worker = None
            self._retire(member, error)

    def _working(self) -> Iterator[_Member]:
        return (member for member in self._members if member.worker is not None)

    def _is_done(self) -> bool:
        busy = self._again or self._alone or any(member.tasks for member in self._members)
        return not busy and self._agenda.is_empty

    def _feed(self) -> None:
        for member in self._members:
            if member.worker is None or not (member.ready and member.wants):
                continue
            task = self._next()
            if task is None:
                return
            member.wants = False
            member.tasks[task.number] = task
            told = {"case": to_json(task.case), "number": task.number, "target": str(task.target)}
            self._send(member, told)

    def _next(self) -> Task | None:
        """The next case to give, once those that need no run are recorded."""
        if self._again:
            return self._again.popleft()
        while task := self._agenda.take() or self._freed():
            if task.row is None:
                return task
            self._finish(task, task.row)
        if self._alone and not any(member.tasks for member in self._members):
            return self._alone.popleft()
        return None

    def _freed(self) -> Task | None:
        """A case that another batch has freed; asked for now and then."""
        now = time.monotonic()
        if now - self._looked < POLL_S:
            return None
        self._looked = now
        return self._agenda.take_of_others()

    def _take_event(self) -> None:
        check_cancelled(self._cancelled)
        try:
            member, hired, message = self._events.get(timeout=POLL_S)
        except queue.Empty:
            self._ledger.catch_up()
            self._end_silent()
            return
        if hired is member.hired and member.worker is not None:
            member.heard = time.monotonic()
            self._hear(member, message)

    def _end_silent(self) -> None:
        for member in self._working():
            if member.ready and time.monotonic() - member.heard > SILENCE_S:
                assert member.worker
                logger.warning("The worker %s gave no sign of life: it is ended.", member.worker.name)
                member.worker.kill()

    def _hear(self, member: _Member, message: Message) -> None:
        event = message.get("event")
        if event == "ready":
            self._admit(member, message)
        elif event == "wants":
            member.wants = True
        elif event == "row":
            self._take_row(member, message)
        elif event == "error":
            self._retire(member, error_from_event(message))
        elif event == "lost":
            self._lost(member)
        elif event == "ended":
            self._died(member, message["code"])

    def _admit(self, member: _Member, message: Mapping[str, Any]) -> None:
        """Let a worker begin whose software and model are ours."""
        assert member.worker
        if message["mednext"] != __version__:
            self._retire(
                member,
                OptionError(
                    f"The machine {message['machine']} has mednext {message['mednext']}, this one has "
                    f"{__version__}: install the same version on both."
                ),
            )
        elif message["recipe"] != dict(self._ledger.recipe):
            self._retire(
                member,
                BundleError(
                    f"The machine {message['machine']} has another model of this name: install the same one."
                ),
            )
        else:
            member.ready, member.starts = True, 0

    def _take_row(self, member: _Member, message: Mapping[str, Any]) -> None:
        task, row = member.tasks.pop(message["number"]), Row(**message["row"])
        others = any(each.tasks for each in self._members) or member.tasks
        if row.error == OutOfMemoryError.__name__ and others and task.number not in self._short_of_memory:
            self._short_of_memory.add(task.number)
            self._alone.append(task)
            return
        self._finish(task, row)

    def _finish(self, task: Task, row: Row) -> None:
        self._agenda.release(task)
        self._ledger.put(task, row)

    def _lost(self, member: _Member) -> None:
        """Give the cases of a lost machine to others."""
        for task in self._taken_from(member):
            self._losses[task.number] += 1
            if self._losses[task.number] < _LOSSES:
                self._again.append(task)
            else:
                sentence = f"The machines that segmented it were lost {_LOSSES} times."
                self._finish(task, failed(task.case, EngineProcessError(sentence)))
        self._start(member)

    def _died(self, member: _Member, code: int | None) -> None:
        """Have the cases of a worker whose process ended done again, and start another worker."""
        tasks, was_ready, member.worker = self._taken_from(member), member.ready, None
        for task in tasks:
            if len(tasks) == 1:  # else another one may have ended it
                self._deaths[task.number] += 1
            if self._deaths[task.number] < _DEATHS:
                self._alone.append(task)
            else:
                sentence = (
                    f"It ended its process twice (exit code {code}) with no other case beside it. Try it on "
                    "a machine with more memory, or on another device."
                )
                self._finish(task, failed(task.case, EngineProcessError(sentence)))
        if was_ready or member.starts < _STARTS:
            self._start(member)
        else:
            sentence = f"A worker ended before it could work (exit code {code}); the log may say more."
            self._retire(member, EngineProcessError(sentence))

    def _retire(self, member: _Member, error: MedNeXtError) -> None:
        """Go on without a worker that cannot work. Raises its error if it was the last."""
        logger.warning("A worker cannot work: %s", error)
        self._again.extend(self._taken_from(member))
        if member.worker is not None:
            self._send(member, {"end": True})
            member.worker = None
        if not any(self._working()):
            raise error

    def _taken_from(self, member: _Member) -> list[Task]:
        tasks = list(member.tasks.values())
        member.tasks.clear()
        return tasks

    def _send(self, member: _Member, message: Message) -> None:
        assert member.worker
        member.worker.send(message)

    def _await_ends(self, seconds: float = _CLOSING_S) -> None:
        """Take the last rows, until all workers have ended."""
        end = time.monotonic() + seconds
        while any(self._working()) and time.monotonic() < end:
            try:
                member, hired, message = self._events.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if hired is not member.hired:
                continue
            if message.get("event") == "row" and message["number"] in member.tasks:
                self._finish(member.tasks.pop(message["number"]), Row(**message["row"]))
            elif message.get("event") in ("ended", "lost"):
                member.worker = None

    def _close(self) -> None:
        """End all workers; results that are being written are still written."""
        try:
            for member in self._working():
                self._send(member, {"cancel": True})
            self._await_ends()
        finally:
            for member in self._working():
                assert member.worker
                member.worker.kill()
            self._crew.close()
