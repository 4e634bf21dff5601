"""The order of waiting jobs: the owners take turns, so that a hundred cases of one do not stop the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Owned(Protocol):
    """Anything with an owner."""

    @property
    def owner(self) -> Hashable: ...


T = TypeVar("T", bound=Owned)


class FairQueue(Generic[T]):
    """Round robin over the owners; the jobs of one owner stay in their order."""

    def __init__(self) -> None:
        self._turns: deque[Hashable] = deque()  # the owners with waiting jobs, the next one first
        self._waiting: dict[Hashable, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, job: T) -> None:
        """Add a job."""
        if job.owner not in self._waiting:
            self._waiting[job.owner] = deque()
            self._turns.append(job.owner)
        self._waiting[job.owner].append(job)

    def next(self) -> T:
        """Remove the next job, and give the other owners their turn. Raises IndexError when empty."""
        owner = self._turns.popleft()
        job = self._waiting[owner].popleft()
        if self._waiting[owner]:
            self._turns.append(owner)
        else:
            del self._waiting[owner]
        return job

    def remove(self, job: T) -> None:
        """Remove a job, if it waits."""
        jobs = self._waiting.get(job.owner, deque())
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._waiting[job.owner]
                self._turns.remove(job.owner)

    def order(self) -> list[T]:
        """All jobs, in the order in which `next` would return them."""
        left = {owner: list(jobs) for owner, jobs in self._waiting.items()}
        turns, order = deque(self._turns), []
        while turns:
            owner = turns.popleft()
            order.append(left[owner].pop(0))
            if left[owner]:
                turns.append(owner)
        return order
