"""Hand waiting jobs to free engines: fairly, within the time limit, and again where an engine has died."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..errors import EngineProcessError, UnknownModelError, from_json
from ..model.bundle import Bundle
from ..remote import wire
from ..remote.served_models import ServedModel
from ..segmentation.provenance import model_sha256
from .fair_queue import FairQueue
from .faults import where
from .jobs import Job, JobTable

logger = logging.getLogger(__name__)

_AFTER_DEATH_S = 1.0
_NEWEST_WEIGHS = 0.3  # in the average speed


class EngineDiedError(Exception):
    """The process of an engine has ended while it carried out a run."""


class Engines(Protocol):
    """Engines that carry out `count` runs at the same time; see `Engine.events`."""

    count: int

    def events(
        self, folder: str, application: dict[str, Any], images: Sequence[np.ndarray]
    ) -> AsyncIterator[dict[str, Any]]:
        """Raises `EngineDiedError`."""
        ...


class Dispatcher:
    """The queue of a server and the runs under way. Every method is for the event loop's thread."""

    def __init__(self, engines: Engines, bundles: Mapping[str, Bundle], table: JobTable) -> None:
        self._engines = engines
        self._bundles = bundles
        self._sums = {name: model_sha256(bundle.model) for name, bundle in bundles.items()}
        self._table = table
        table.on_drop = self._forget
        self.waiting: FairQueue[Job] = FairQueue()
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._seconds_per_unit: float | None = None

    @property
    def engine_count(self) -> int:
        """The number of runs at the same time."""
        return self._engines.count

    def bundle(self, name: str) -> Bundle:
        """The model of this name. Raises `UnknownModelError`."""
        if name not in self._bundles:
            known = ", ".join(self._bundles) or "none"
            raise UnknownModelError(f"This server has no model {name!r}, only: {known}.")
        return self._bundles[name]

    def described(self) -> tuple[ServedModel, ...]:
        """All models."""
        return tuple(
            ServedModel(name, bundle.model.version, bundle.model.title, self._sums[name])
            for name, bundle in self._bundles.items()
        )

    def check(self, application: wire.Application) -> None:
        """Refuse a model that this server has not, or has otherwise, and folds that it lacks."""
        bundle = self.bundle(application.model)
        if self._sums[application.model] != application.model_sha256:
            raise UnknownModelError(
                f"This server has another model {application.model!r} (version {bundle.model.version}): "
                "install the same one on both sides, or use the server's by its name."
            )
        for fold in application.options.folds_of(bundle.model):
            bundle.fold(fold)

    def start(self, job: Job) -> None:
        """Let a complete job wait for its turn."""
        job.state = wire.JobState("queued")
        logger.info(
            "Run %d of %s: %s, %.1f MiB.",
            job.number,
            job.owner.name,
            job.application.model,
            job.application.size / 2**20,
        )
        self.waiting.add(job)
        self._pump()

    def state_of(self, job: Job) -> wire.JobState:
        """The state of a job, with its position in the queue and the time to its end."""
        if job.state.state != "queued":
            return job.state
        order = self.waiting.order()
        position = order.index(job) + 1
        return replace(job.state, position=position, remaining_s=self._remaining_s(order[:position]))

    async def close(self) -> None:
        """Cancel all runs, and forget all jobs."""
        for job in self._table:
            self._table.drop(job, "dropped, the server ends")
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _pump(self) -> None:
        while self.waiting and len(self._running) < self._engines.count:
            job = self.waiting.next()
            job.state = wire.JobState("running", stage="loading", total=1)
            self._running[job] = asyncio.create_task(self._carry_out(job))

    def _forget(self, job: Job) -> None:
        self.waiting.remove(job)
        if job in self._running:
            self._running[job].cancel()

    async def _carry_out(self, job: Job) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._table.limits.longest_s):
                await self._attempts(job)
        except TimeoutError:
            minutes = self._table.limits.longest_s / 60
            job.fail(
                EngineProcessError(f"The run took longer than the {minutes:g} min that this server allows.")
            )
        except Exception as error:  # noqa: BLE001  # boundary: the queue goes on, whatever an engine raises
            logger.error("Run %d failed by a fault of this program.\n%s", job.number, where(error))
            job.fail(
                EngineProcessError(f"The server failed ({type(error).__name__}): tell its administrator.")
            )
        finally:
            del self._running[job]
            seconds = time.monotonic() - begun
            if not job.dropped:
                self._learn(job, seconds)
                kind = (job.state.error or {}).get("error", "")
                logger.info(
                    "Run %d of %s: %s after %.1f s.",
                    job.number,
                    job.owner.name,
                    kind or job.state.state,
                    seconds,
                )
            self._pump()

    async def _attempts(self, job: Job) -> None:
        deaths = 0
        while True:
            try:
                await self._attempt(job)
                return
            except EngineDiedError as error:
                deaths += 1
                logger.warning("Run %d: its engine has died (%s).", job.number, error)
                if deaths >= self._table.limits.engine_deaths:
                    job.fail(
                        EngineProcessError(
                            f"The server's engine has ended {deaths} times during this run, perhaps for lack "
                            "of memory: limit it to a smaller region."
                        )
                    )
                    return
                job.state = wire.JobState(
                    "running",
                    remarks=job.remarked("An engine of the server has failed; the run begins again."),
                )
                await asyncio.sleep(_AFTER_DEATH_S)

    async def _attempt(self, job: Job) -> None:
        job.state = wire.JobState("running", stage="loading", total=1, remarks=job.state.remarks)
        folder = str(self._bundles[job.application.model].path)
        stream = self._engines.events(folder, job.application.to_json(), job.images)
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                if "progress" in event:
                    told = dict(event["progress"])
                    job.state = wire.JobState("running", remarks=job.remarked(told.pop("remark")), **told)
                elif "error" in event:
                    job.fail(from_json(event["error"]))
                else:
                    arrays = {name: event[name] for name in wire.ARRAYS if name in event}
                    await asyncio.to_thread(job.finish, arrays, event["provenance"])

    def _units(self, job: Job) -> float:
        """The work of a job, in voxels that go through a network."""
        model, options = self._bundles[job.application.model].model, job.application.options
        passes = len(options.folds_of(model)) * 2 ** len(options.mirror_axes_of(model))
        return float(math.prod(job.application.images[0].geometry.size) * passes)

    def _learn(self, job: Job, seconds: float) -> None:
        if job.state.state != "done":
            return
        measured, known = seconds / self._units(job), self._seconds_per_unit
        self._seconds_per_unit = measured if known is None else known + _NEWEST_WEIGHS * (measured - known)

    def _remaining_s(self, ahead: Sequence[Job]) -> float | None:
        """Seconds until the last of these waiting jobs begins; None before the first job has ended."""
        if self._seconds_per_unit is None:
            return None
        running = sum(self._units(job) / 2 for job in self._running)  # on average they are half done
        waiting = sum(self._units(job) for job in ahead[:-1])
        return self._seconds_per_unit * (running + waiting) / max(self._engines.count, 1)
