"""A batch with several workers: each case once, whatever happens to a worker."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.batch.simulated_hand import LOG, PROGRAM, RECIPE, expected, simulated
from mednext.batch.case import Case
from mednext.batch.report import Report, Row
from mednext.errors import BundleError, Cancelled, EngineProcessError, OptionError, UnreadableImageError
from mednext.images.formats.nrrd_header import nrrd_header
from mednext.images.formats.stored_voxels import read_voxels
from mednext.inference.options import Options
from mednext.system.devices import usable_cores
from mednext.worker.crew import hand
from mednext.worker.crew.batch import jobs_of_this_machine, run_with_crew
from mednext.worker.crew.job import CrewJob
from mednext.worker.crew.processes import ProcessCrew
from mednext.worker.protocol import Order

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the simulated workers kill themselves")

Run = Callable[..., list[Row]]


@pytest.fixture
def job(tmp_path: Path) -> CrewJob:
    return CrewJob(Order("simulated", Options()), str(tmp_path), tmp_path / "out", "", alive_s=0.2)


@pytest.fixture
def run(job: CrewJob) -> Run:
    """Run cases with simulated workers."""

    def run_it(
        cases: Sequence[Case], workers: int = 2, recipe: dict[str, str] = RECIPE, **rest: Any
    ) -> list[Row]:
        return run_with_crew(job, recipe, cases, lambda seen: ProcessCrew([seen] * workers, PROGRAM), **rest)

    return run_it


def labels(output: Path, case: Case) -> np.ndarray:
    """The labels in a written result."""
    return read_voxels(nrrd_header(output / f"{case.name}.seg.nrrd").voxels)[0]


def check_written(job: CrewJob, cases: Sequence[Case]) -> None:
    """Every case has its own result, and there is nothing else."""
    names = sorted(path.relative_to(job.output).as_posix() for path in job.output.rglob("*"))
    assert names == sorted([*(f"{case.name}.seg.nrrd" for case in cases), "report.csv"])
    for case in cases:
        np.testing.assert_array_equal(labels(job.output, case), expected(case).labelmap)


def segmented(job: CrewJob) -> Counter[str]:
    """How often a worker began to segment each case."""
    return Counter((job.output.parent / LOG).read_text(encoding="utf-8").splitlines())


def test_every_case_is_segmented_once_and_has_its_own_result(run: Run, job: CrewJob) -> None:
    cases = [simulated(number) for number in range(20)]
    told: list[int] = []
    rows = run(cases, told=lambda number, _total, _row: told.append(number))
    assert [(row.case, row.status) for row in rows] == [(case.name, "done") for case in cases]
    assert told == list(range(1, 21))
    assert set(segmented(job).values()) == {1}
    check_written(job, cases)
    written = Report(job.output / "report.csv").rows()
    assert [(row.case, row.output) for row in written] == [(row.case, row.output) for row in rows]
    assert run(cases, workers=1) == rows
    assert set(segmented(job).values()) == {1}


def test_a_case_whose_worker_was_killed_is_done_again(run: Run, job: CrewJob) -> None:
    cases = [simulated(number, "kills once" if number in (0, 3) else "") for number in range(8)]
    assert {row.status for row in run(cases)} == {"done"}
    check_written(job, cases)


def test_a_case_that_kills_its_worker_twice_fails_and_the_others_go_on(run: Run, job: CrewJob) -> None:
    cases = [simulated(number, "kills" if number == 2 else "") for number in range(8)]
    rows = run(cases)
    assert [row.status for row in rows] == ["done"] * 2 + ["failed"] + ["done"] * 5
    assert rows[2].error == "EngineProcessError"
    assert "ended its process twice (exit code -9)" in rows[2].message
    assert segmented(job)[cases[2].name] in (2, 3)  # the first time, another case may have been the cause
    check_written(job, [case for case in cases if case is not cases[2]])


def test_a_case_without_memory_beside_others_is_done_again_alone(run: Run, job: CrewJob) -> None:
    cases = [simulated(number, "hungry" if number == 1 else "slow") for number in range(8)]
    assert {row.status for row in run(cases)} == {"done"}
    assert segmented(job)[cases[1].name] == 2


def test_a_worker_that_stands_still_is_ended_and_its_case_done_again(
    run: Run, job: CrewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mednext.worker.crew.schedule.SILENCE_S", 2.0)
    cases = [simulated(number, "stops once" if number == 1 else "") for number in range(6)]
    assert {row.status for row in run(cases)} == {"done"}
    check_written(job, cases)


def test_cases_that_need_no_worker_get_their_rows_too(run: Run) -> None:
    bad = Case("bad", (), (), "bad", problem=UnreadableImageError("It is damaged."))
    scout = Case("scout", (), (), "scout", left_out="It is a localizer.")
    assert [row.status for row in run([bad, simulated(1), scout])] == ["failed", "done", "left out"]


def test_a_worker_with_another_model_is_refused(run: Run, job: CrewJob) -> None:
    with pytest.raises(BundleError, match="another model of this name"):
        run([simulated(1)], recipe={**RECIPE, "model_sha256": "1" * 64})
    assert [path.name for path in job.output.iterdir()] == []


def test_a_worker_that_does_not_see_the_images_is_refused(tmp_path: Path) -> None:
    job = CrewJob(Order("simulated", Options()), str(tmp_path / "elsewhere"), tmp_path / "out", "")
    with pytest.raises(OptionError, match=r"does not see .*elsewhere"):
        run_with_crew(job, RECIPE, [simulated(1)], lambda seen: ProcessCrew([seen], PROGRAM))


def test_workers_that_cannot_start_end_the_batch_with_the_reason(job: CrewJob) -> None:
    program = [sys.executable, "-c", "raise SystemExit(7)"]
    with pytest.raises(EngineProcessError, match="exit code 7"):
        run_with_crew(job, RECIPE, [simulated(1)], lambda seen: ProcessCrew([seen] * 2, program))


def test_cancelling_ends_the_workers_and_leaves_a_state_to_resume(run: Run, job: CrewJob) -> None:
    cases = [simulated(number, "endless" if number in (3, 4) else "") for number in range(6)]

    def both_are_at_work() -> bool:
        return (job.output.parent / LOG).exists() and len(segmented(job)) >= 5

    with pytest.raises(Cancelled):
        run(cases, cancelled=both_are_at_work)
    done = [case for case in cases if (job.output / f"{case.name}.seg.nrrd").exists()]
    check_written(job, done)
    rows = Report(job.output / "report.csv").rows()
    assert {row.case for row in rows} == {case.name for case in done} != set()
    again = [simulated(number) for number in range(6)]
    assert {row.status for row in run(again)} == {"done"}
    check_written(job, again)


def test_half_a_message_of_a_scheduler_that_was_killed_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    hand.Hand(lambda _message: None).listen([b'{"cancel": true}\n', b'{"number": 1, "ca'])
    assert ended == [0]


def test_two_batches_with_workers_share_the_cases(run: Run, job: CrewJob) -> None:
    cases = [simulated(number, "slow") for number in range(30)]
    found: list[list[Row]] = []
    other = threading.Thread(target=lambda: found.append(run(cases)))
    other.start()
    found.append(run(cases))
    other.join()
    assert [{row.status for row in rows} for rows in found] == [{"done"}] * 2
    assert set(segmented(job).values()) == {1}
    check_written(job, cases)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_cores_are_divided_among_the_workers(count: int) -> None:
    jobs = jobs_of_this_machine(CrewJob(Order("m", Options(device="cpu")), ".", Path("out"), ""), count)
    assert [each.order.options.threads for each in jobs] == [max(1, usable_cores() // count)] * count


def test_the_cards_are_given_out_in_turn(job: CrewJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mednext.worker.crew.batch.count_cards", lambda: 2)
    devices = [each.order.options.device for each in jobs_of_this_machine(job, 3)]
    assert devices == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize("count", [0, -1, 100000])
def test_a_senseless_number_of_workers_is_refused(job: CrewJob, count: int) -> None:
    with pytest.raises(OptionError, match=f"not {count}"):
        jobs_of_this_machine(job, count)
