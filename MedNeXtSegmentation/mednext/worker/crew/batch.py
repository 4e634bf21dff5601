"""Run a batch with several workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ...batch.agenda import Agenda, remove_left_in
from ...batch.case import Case
from ...batch.report import Row
from ...batch.run import Ledger, Told
from ...errors import OptionError
from ...system.atomic import UNFINISHED
from ...system.devices import usable_cores
from ...system.running_processes import signature
from .job import CrewJob
from .schedule import Crew, Schedule

_MOST_WORKERS = 512


def run_with_crew(
    job: CrewJob,
    recipe: Mapping[str, str],
    cases: Sequence[Case],
    hire: Callable[[CrewJob], Crew],
    told: Told | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Row]:
    """Segment all cases; return the row of each, in their order.

    Args:
        recipe: of the results, see `Options.recipe_with`; that of every worker must be the same.
        hire: makes the crew, with a job whose results folder is there.
        told, cancelled: see `Batch`.

    Raises the errors of `Batch.run`, and `EngineProcessError` when no worker can be started.
    """
    ledger = Ledger.begin(job.output, recipe, len(cases), told)
    agenda = Agenda(cases, job.output, cancelled)
    try:
        with _probe(job) as seen:
            Schedule(agenda, ledger, hire(seen), cancelled).run()
    finally:
        agenda.close()
        remove_left_in(job.output)  # by workers that were killed
        ledger.catch_up()
    return ledger.all_rows()


@contextmanager
def _probe(job: CrewJob) -> Iterator[CrewJob]:
    """The job with a file in its results folder that other machines must see."""
    probe = job.output / f"{UNFINISHED}{signature()}-probe"
    probe.touch()
    try:
        yield replace(job, probe=probe.name)
    finally:
        probe.unlink(missing_ok=True)


def jobs_of_this_machine(job: CrewJob, count: int) -> list[CrewJob]:
    """The job for each of this many workers, with the cards in turn and an equal share of the cores.

    Raises `OptionError` for a number that makes no sense.
    """
    check_count(count)
    options = job.order.options
    job = job.with_options(threads=options.threads or max(1, usable_cores() // count))
    cards = count_cards() if options.device in ("auto", "cuda") else 0
    if not cards:
        return [job] * count
    return [job.with_options(device=f"cuda:{place % cards}") for place in range(count)]


def check_count(workers: int) -> None:
    """Raise `OptionError` for a number of workers that makes no sense."""
    if not 1 <= workers <= _MOST_WORKERS:
        raise OptionError(f"The number of workers must be 1 to {_MOST_WORKERS}, not {workers}.")


def count_cards() -> int:
    """The number of CUDA devices; asking does not start them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
