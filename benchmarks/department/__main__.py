"""Measure the scheduler of a batch on simulated cases, and print a table in Markdown.

python -m benchmarks.department                       # 10,000 cases, half an hour with Ray on two cores
python -m benchmarks.department --cases 1000 --kinds processes

"processes": two worker processes that write a small result for each case, as real ones do. "ray": the same
through a local Ray cluster of three nodes.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Testing"))

from fixtures.batch.ray_cluster import local_cluster
from fixtures.batch.simulated_hand import PROGRAM, RECIPE, simulated
from mednext.inference.options import Options
from mednext.worker.crew.batch import run_with_crew
from mednext.worker.crew.job import CrewJob
from mednext.worker.crew.on_ray import ray_crew
from mednext.worker.crew.processes import ProcessCrew
from mednext.worker.crew.schedule import Crew
from mednext.worker.protocol import Order

from ..report import Row, machine, table

KINDS = ("processes", "ray")
WORKERS = 2
RAY_NODES = 3


def _measured(kind: str, count: int) -> tuple[float, float]:
    """Seconds of the whole batch from its first row on, and processor seconds of the scheduler."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        first: list[float] = []
        address = stack.enter_context(local_cluster(RAY_NODES)).address if kind == "ray" else ""

        def hire(seen: CrewJob) -> Crew:
            if kind == "ray":
                return ray_crew(address, seen, RAY_NODES, PROGRAM)
            return ProcessCrew([seen] * WORKERS, PROGRAM)

        def told(number: int, _total: int, _row: object) -> None:
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
    rows: list[Row] = []
    for kind in options.kinds:
        whole, own = _measured(kind, options.cases)
        own_ms = 1000 * own / options.cases  # of the scheduler's processor
        rows.append({"workers": kind, "s in all": whole, "ms of the scheduler for a case": own_ms})
    sys.stdout.write(f"{table(f'{options.cases} cases', rows)}\n{machine()}.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
