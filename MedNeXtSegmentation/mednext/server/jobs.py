"""The jobs of a server: their voxels and results, which exist in memory only, and not for long."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from ..errors import MedNeXtError, ServerBusyError, ServerError, UnsupportedImageError, to_json
from ..remote import wire
from ..system.shown_text import shown
from .keys import Owner

logger = logging.getLogger(__name__)

GIB = 2**30
_ID_BYTES = 32
_RESULT_BYTES = 4  # of labels and uncertainty, for each voxel of the first image
_MOST_REMARKS = 50
_UNBEGUN_S = 60.0
_LONGEST_MESSAGE = 4000


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        largest_bytes: of the images of one job, uncompressed.
        memory_bytes: of all jobs together; a further one is refused until there is room.
        jobs_per_owner: at the same time, waiting and finished ones included.
        longest_s: seconds that a run may take.
        silence_s: seconds without a request of its client, after which a job is dropped with its voxels.
        engine_deaths: number of engines that may end while they carry out a job, before it fails.
    """

    largest_bytes: int = 2 * GIB
    memory_bytes: int = 8 * GIB
    jobs_per_owner: int = 8
    longest_s: float = 3600.0
    silence_s: float = 300.0
    engine_deaths: int = 3


class NoSuchJobError(ServerError):
    """No job of this owner has this ID."""


@dataclass(eq=False, repr=False)  # no message of an error may show voxels
class Job:
    """One run for one owner.

    Attributes:
        id: a secret of 256 bits between server and client.
        number: for the log.
        images: `(C, Z, Y, X)` each, filled up to `received` bytes.
        arrays: of the result, `(Z, Y, X)` each.
        heard: time of the client's last request, on the monotonic clock.
    """

    id: str
    number: int
    owner: Owner
    application: wire.Application
    images: list[np.ndarray]
    received: list[int]
    state: wire.JobState = field(default_factory=lambda: wire.JobState("uploading"))
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)
    dropped: bool = False

    @property
    def reserved_bytes(self) -> int:
        """The memory that the job may take."""
        grid = self.application.images[0].geometry.size
        return self.application.size + _RESULT_BYTES * math.prod(grid)

    def take_piece(self, number: int, offset: int, voxels: bytes) -> int:
        """Add a piece of an image; return the number of bytes that are there, whether it fitted or not."""
        if offset == self.received[number]:
            target = wire.raw(self.images[number])
            if offset + len(voxels) <= len(target):
                target[offset : offset + len(voxels)] = voxels
                self.received[number] += len(voxels)
        return self.received[number]

    def check_complete(self, sums: list[str]) -> None:
        """Raise `ServerError` unless all bytes are there and have these SHA-256."""
        sizes = [image.nbytes for image in self.images]
        if self.received != sizes:
            raise ServerError(f"The images are not complete: {self.received} of {sizes} bytes.")
        if [wire.sha256_of(wire.raw(image)) for image in self.images] != sums:
            raise ServerError("The images have arrived damaged: begin again.")

    def fail(self, error: MedNeXtError) -> None:
        """End with an error; the voxels are gone at once."""
        self.images = []
        told = to_json(error)
        told["message"] = told["message"][:_LONGEST_MESSAGE]
        self.state = wire.JobState("failed", error=told, remarks=self.state.remarks)

    def finish(self, arrays: Mapping[str, np.ndarray], provenance: Mapping[str, str]) -> None:
        """End with a result; the voxels of the images are gone at once."""
        self.images = []
        self.arrays = dict(arrays)
        outlines = {
            name: wire.ArrayOutline(array.dtype.name, wire.sha256_of(wire.raw(array)))
            for name, array in arrays.items()
        }
        self.state = wire.JobState(
            "done", remarks=self.state.remarks, arrays=outlines, provenance=dict(provenance)
        )

    def remarked(self, remark: str) -> tuple[str, ...]:
        """The remarks with a new one."""
        remarks = self.state.remarks
        return remarks if remark in remarks or not remark else (*remarks, shown(remark))[-_MOST_REMARKS:]


class JobTable:
    """All jobs. Every method is for the event loop's thread.

    on_drop: is called with each job that is dropped.
    """

    def __init__(self, limits: Limits, on_drop: Callable[[Job], None] = lambda _job: None) -> None:
        self.limits = limits
        self.on_drop = on_drop
        self._jobs: dict[str, Job] = {}
        self._numbers = count(1)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def open(self, owner: Owner, application: wire.Application) -> Job:
        """A new job.

        Raises `UnsupportedImageError` for images beyond the limit, `ServerBusyError` while there is no room.
        """
        limits = self.limits
        if application.size > limits.largest_bytes:
            raise UnsupportedImageError(
                f"The images have {_gib(application.size)}, and this server takes at most "
                f"{_gib(limits.largest_bytes)}: crop them, or resample them to larger voxels."
            )
        if sum(job.owner == owner for job in self._jobs.values()) >= limits.jobs_per_owner:
            raise ServerBusyError(
                f"This key has {limits.jobs_per_owner} runs on the server already: wait for one of them."
            )
        job = Job(
            secrets.token_hex(_ID_BYTES),
            next(self._numbers),
            owner,
            application,
            [],
            [0] * len(application.images),
        )
        reserved = sum(each.reserved_bytes for each in self._jobs.values())
        if self._jobs and reserved + job.reserved_bytes > limits.memory_bytes:
            raise ServerBusyError("The memory of the server is full of other runs: wait for one of them.")
        job.images = [np.empty(image.shape, image.type) for image in application.images]
        self._jobs[job.id] = job
        return job

    def find(self, id: str, owner: Owner) -> Job:
        """The owner's job with this ID, whose client is heard now. Raises `NoSuchJobError`."""
        job = self._jobs.get(id)
        if job is None or job.owner != owner:
            raise NoSuchJobError(
                "There is no such run: it was cancelled or fetched, or its client was silent for too long."
            )
        job.heard = time.monotonic()
        return job

    def drop(self, job: Job, reason: str) -> None:
        """Forget a job with all of its voxels."""
        if self._jobs.pop(job.id, None) is None:
            return
        job.dropped = True
        job.images, job.arrays = [], {}
        logger.info("Run %d of %s: %s.", job.number, job.owner.name, reason)
        self.on_drop(job)

    def sweep(self, owners: tuple[Owner, ...]) -> None:
        """Drop the jobs of lost clients and of revoked keys."""
        now = time.monotonic()
        for job in self:
            if job.owner not in owners:
                self.drop(job, "dropped, its key was revoked")
            elif now - job.heard > self._patience_s(job):
                self.drop(job, f"dropped, its client was silent for {self._patience_s(job):g} s")

    def _patience_s(self, job: Job) -> float:
        """Less for a job without any voxel: the answer with its ID was probably lost."""
        begun = any(job.received)
        return self.limits.silence_s if begun else min(_UNBEGUN_S, self.limits.silence_s)


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
