"""The cases of a batch in their order, each locked while it is worked on.

Several processes, also on several machines, may work on the same output folder: each locks and claims the
case that it works on, and skips those of others. At the end it returns to these, in case a process died.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..system.atomic import explaining, remove_leftovers
from ..system.cancellation import POLL_S, check_cancelled, wait
from ..system.locks import locked_if_free
from .case import Case
from .case_finding import RESULT_SUFFIX
from .case_outcome import outcome, settled
from .claims import Claims, remove_left_claims
from .report import REPORT_FILE, Row


@dataclass(eq=False)
class Task:
    """A case to do.

    Attributes:
        number: its place among the cases of the batch.
        target: the file of its result.
        row: known already where the case needs no run.
        held: its lock and its claim.
    """

    number: int
    case: Case
    target: Path
    row: Row | None = None
    held: ExitStack = field(default_factory=ExitStack)


class Agenda:
    """Gives out the cases of a batch, each once."""

    def __init__(
        self, cases: Sequence[Case], output: Path, cancelled: Callable[[], bool] | None = None
    ) -> None:
        self._cases = cases
        self._output = output
        self._cancelled = cancelled
        self._next = 0
        self._busy: deque[int] = deque()
        self._given: set[Task] = set()
        self._claims = Claims()

    def take(self, wait_for_others: bool = False) -> Task | None:
        """The next case that is free, locked; None when there is none.

        Args:
            wait_for_others: wait for the cases that other processes have locked, once all others are given.

        Raises `Cancelled`.
        """
        while self._next < len(self._cases):
            self._next += 1
            task = self._begin(self._next - 1)
            if task:
                return task
            self._busy.append(self._next - 1)
        while wait_for_others and self._busy:
            task = self.take_of_others()
            if task:
                return task
            wait(POLL_S, self._cancelled)
        return None

    def take_of_others(self) -> Task | None:
        """A case that another process had locked and has freed; None when there is none."""
        for number in list(self._busy):
            task = self._begin(number)
            if task:
                self._busy.remove(number)
                return task
        return None

    @property
    def is_empty(self) -> bool:
        """Whether every case was given out."""
        return self._next == len(self._cases) and not self._busy

    def release(self, task: Task) -> None:
        """Free the lock of a case that is done."""
        self._given.discard(task)
        task.held.close()

    def close(self) -> None:
        """Free all locks."""
        for task in list(self._given):
            self.release(task)
        self._claims.close()

    def _begin(self, number: int) -> Task | None:
        """Lock a case; None when another process has locked it."""
        check_cancelled(self._cancelled)
        case = self._cases[number]
        task = Task(number, case, self._output / f"{case.name}{RESULT_SUFFIX}", settled(case))
        if task.row is None:
            locked = outcome(case, lambda: self._lock(task))
            if isinstance(locked, Row):
                task.row = locked
            elif not locked:
                return None
        self._given.add(task)
        return task

    def _lock(self, task: Task) -> bool:
        """Lock and claim a case; False if another process has done so."""
        with explaining(task.target), ExitStack() as held:
            task.target.parent.mkdir(parents=True, exist_ok=True)
            lock = task.target.with_name(f".{task.target.name}.lock")
            if held.enter_context(locked_if_free(lock)) and held.enter_context(
                self._claims.claimed_if_free(task.target)
            ):
                task.held = held.pop_all()
                return True
        return False


def remove_left_in(output: Path) -> None:
    """Remove temporary files, locks and claims of batches that were killed."""
    remove_leftovers(output)
    remove_left_claims(output)
    for name in (RESULT_SUFFIX, REPORT_FILE):
        for lock in output.rglob(f".*{name}.lock"):
            with suppress(OSError), locked_if_free(lock):  # freeing it removes it
                pass
