"""Workers on the machines of a Ray cluster, which all see the folders of images and results.

An actor on each machine starts the same process that a worker of this machine is, and passes its messages on.
So a process that a case ended and a machine that was lost are told apart.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import EngineProcessError, MissingPackageError
from ...system.json_values import to_json
from .batch import check_count
from .job import CrewJob, Message
from .joining import join_cluster
from .processes import PROGRAM, ProcessWorker

_LISTENING_S = 1.0
_LAST_EVENTS = ("ended", "lost")

logger = logging.getLogger(__name__)


class Relay:
    """Runs on another machine: a worker process there, and its events until they are fetched."""

    def __init__(self, told: dict[str, Any], program: Sequence[str]) -> None:
        self._events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._worker = ProcessWorker(CrewJob.read(told), self._events.put, program)

    def send(self, line: str) -> None:
        """Pass a message to the process."""
        self._worker.send(json.loads(line))

    def listen(self) -> list[str]:
        """The events since the last call; waits a moment for the first."""
        events: list[str] = []
        try:
            events.append(json.dumps(self._events.get(timeout=_LISTENING_S)))
            while True:
                events.append(json.dumps(self._events.get_nowait()))
        except queue.Empty:
            return events


class RayWorker:
    """A worker on a machine of the cluster; a thread fetches its events."""

    def __init__(self, actor: Any, tell: Callable[[Message], None]) -> None:
        self._actor = actor
        self.name = "of the Ray cluster"
        threading.Thread(target=self._fetch, args=[tell], daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; a machine that is lost is reported by the last event."""
        self._actor.send.remote(json.dumps(message))

    def kill(self) -> None:
        """End the actor and its process at once."""
        import ray

        ray.kill(self._actor)

    def _fetch(self, tell: Callable[[Message], None]) -> None:
        import ray

        while True:
            try:
                lines = ray.get(self._actor.listen.remote())
            except ray.exceptions.RayError as error:
                logger.debug("A worker of the cluster is lost.", exc_info=True)
                if not isinstance(error, ray.exceptions.RayTaskError):
                    tell({"event": "lost"})
                    return
                sentence = f"A machine of the cluster cannot start a worker: {error.cause}"
                tell({"event": "error", "error": EngineProcessError.__name__, "message": sentence})
                return
            for line in lines:
                event = json.loads(line)
                tell(event)
                if event.get("event") in _LAST_EVENTS:
                    ray.kill(self._actor)
                    return


class RayCrew:
    """Workers on the machines of a cluster.

    Attributes:
        size: their number.
        cards, cores: that each needs of its machine.
    """

    def __init__(
        self, job: CrewJob, size: int, cards: int, cores: float, program: Sequence[str] = PROGRAM
    ) -> None:
        import ray

        self.size, self._job, self._program = size, job, list(program)
        remote: Any = ray.remote  # its types know no concurrency groups
        relay = remote(concurrency_groups={"listening": 1})(_with_groups(Relay))
        self._relay = relay.options(
            num_cpus=cores, num_gpus=cards, max_restarts=0, scheduling_strategy="SPREAD"
        )

    def start(self, place: int, tell: Callable[[Message], None]) -> RayWorker:
        """Ask the cluster for a worker; it starts once a machine has room."""
        return RayWorker(self._relay.remote(to_json(self._job), self._program), tell)

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        ray.shutdown()


def _with_groups(relay: type[Relay]) -> type[Relay]:
    """The class with `listen` in a thread of its own, so that it holds up no message."""
    import ray

    return type("Relay", (relay,), {"listen": ray.method(concurrency_group="listening")(relay.listen)})


def ray_crew(
    address: str, job: CrewJob, count: int | None = None, program: Sequence[str] = PROGRAM
) -> RayCrew:
    """Workers in the cluster with this address: "auto" or "host:6379".

    Without a count, one for each card, or for each machine where there are no cards.

    Raises `MissingPackageError` without Ray, `OptionError` where no cluster answers, or for a wrong count.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError(
            "--ray needs Ray: pip install 'slicer-mednext-segmentation[cluster]', the same version on all "
            "machines."
        ) from error
    if not ray.is_initialized():
        join_cluster(address, log_to_driver=False, logging_level=logging.ERROR)
    options = job.order.options
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cards = 0 if options.device == "cpu" else int(sum(each.get("GPU", 0) for each in machines))
    size = count if count is not None else cards or len(machines)
    check_count(size)
    smallest = int(min(each.get("CPU", 1) for each in machines))
    share = max(1, smallest // math.ceil(size / len(machines)))
    threads = options.threads or (None if cards else share)
    return RayCrew(job.with_options(threads=threads), size, min(cards, 1), 1 if cards else share, program)
