"""Measure the scheduler of a batch on simulated cases, and print a table in Markdown.

python -m benchmarks.department                       # 10,000 cases, half an hour with Ray on two cores
python -m benchmarks.department --cases 1000 --kinds answers processes

"answers": workers of this process that answer at once, so that nothing but locks, claims, messages and the
report takes time. "processes": two worker processes that write a small result for each case, as real ones do.
"ray": the same through a local Ray cluster of three nodes.
"""

from __future__ import annotations

import argparse
import logging
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Testing" / "fixtures"))

from mednext.batch.report import Row
from mednext.inference.options import Options
from mednext.worker.crew.batch import run_with_crew
from mednext.worker.crew.job import CrewJob, Message
from mednext.worker.crew.on_ray import ray_crew
from mednext.worker.crew.processes import ProcessCrew
from mednext.worker.crew.schedule import Crew
from mednext.worker.protocol import Order
from ray_cluster import local_cluster
from simulated_hand import PROGRAM, RECIPE, simulated

from ..report import Value, machine, table

KINDS = ("answers", "processes", "ray")
WORKERS = 2
RAY_NODES = 3


class _Answering:
    """A worker in a thread that answers each case at once."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self.name = "answering"
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._tell = tell
        threading.Thread(target=self._answer, daemon=True).start()

    def send(self, message: Message) -> None:
        """Take a message."""
        self._messages.put(message)

    def kill(self) -> None:
        """Do nothing: the thread ends with the batch."""

    def _answer(self) -> None:
        from mednext import __version__

        self._tell({"event": "ready", "mednext": __version__, "machine": "here", "recipe": RECIPE})
        while True:
            self._tell({"event": "wants"})
            message = self._messages.get()
            if "case" not in message:
                self._tell({"event": "ended", "code": 0})
                return
            row = Row(message["case"]["name"], output="none", volumes_ml={"spleen": 1.0})
            self._tell({"event": "row", "number": message["number"], "row": asdict(row)})


class _AnsweringCrew:
    size = WORKERS

    def start(self, _place: int, tell: Callable[[Message], None]) -> _Answering:
        """Start a worker."""
        return _Answering(tell)

    def close(self) -> None:
        """Do nothing."""


def _measured(kind: str, count: int) -> tuple[float, float]:
    """Seconds of the whole batch from its first row on, and processor seconds of the scheduler."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        first: list[float] = []
        address = stack.enter_context(local_cluster(RAY_NODES)).address if kind == "ray" else ""

        def hire(seen: CrewJob) -> Crew:
            if kind == "ray":
                return ray_crew(address, seen, RAY_NODES, PROGRAM)
            return ProcessCrew([seen] * WORKERS, PROGRAM) if kind == "processes" else _AnsweringCrew()

        def told(number: int, _total: int, _row: Row) -> None:
            if number == 1:
                first.extend((time.monotonic(), time.process_time()))

        job = CrewJob(Order("simulated", Options(device="cpu")), name, folder / "out", "")
        rows = run_with_crew(job, RECIPE, [simulated(n) for n in range(count)], hire, told)
        taken = time.monotonic() - first[0], time.process_time() - first[1]
        assert {row.status for row in rows} == {"done"}
        return taken


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.department",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    rows: list[dict[str, Value]] = []
    for kind in options.kinds:
        whole, own = _measured(kind, options.cases)
        ms, own_ms = (1000 * seconds / options.cases for seconds in (whole, own))
        rows.append(
            {
                "workers": kind,
                "cases": options.cases,
                "s in all": whole,
                "ms a case": ms,
                "ms of the scheduler's processor": own_ms,
            }
        )
    sys.stdout.write(f"{table('The scheduler', rows)}\n{machine()}.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
