"""A batch on a Ray cluster: the same scheduler, and the cases of a lost machine are done again.

`make department` starts three nodes, and kills one in the middle of a batch.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.batch.ray_cluster import local_cluster
from fixtures.batch.simulated_hand import LOG, PROGRAM, RECIPE, expected, simulated
from mednext.batch.report import Row
from mednext.errors import OptionError
from mednext.images.formats.nrrd_header import nrrd_header
from mednext.images.formats.stored_voxels import read_voxels
from mednext.inference.options import Options
from mednext.worker.crew.batch import run_with_crew
from mednext.worker.crew.job import CrewJob
from mednext.worker.crew.on_ray import ray_crew
from mednext.worker.protocol import Order

if "MEDNEXT_RAY_NODES" not in os.environ:
    pytest.skip("Ray takes a minute to start: make department", allow_module_level=True)
pytest.importorskip("ray", reason="Ray is not installed: pip install 'slicer-mednext-segmentation[cluster]'")


@pytest.fixture
def job(tmp_path: Path) -> CrewJob:
    return CrewJob(Order("simulated", Options(device="cpu")), str(tmp_path), tmp_path / "out", "")


def check(job: CrewJob, cases: list[Any], rows: list[Row]) -> None:
    assert [(row.case, row.status) for row in rows] == [(case.name, "done") for case in cases]
    for case in cases:
        labels, _ = read_voxels(nrrd_header(job.output / f"{case.name}.seg.nrrd").voxels)
        np.testing.assert_array_equal(labels, expected(case).labelmap)


def test_a_cluster_does_each_case_once_and_again_where_its_process_was_killed(job: CrewJob) -> None:
    cases = [simulated(number, "kills once" if number == 2 else "") for number in range(6)]
    with local_cluster() as cluster:
        rows = run_with_crew(job, RECIPE, cases, lambda seen: ray_crew(cluster.address, seen, None, PROGRAM))
    check(job, cases, rows)
    assert sorted(path.name for path in job.output.iterdir())[-1] == "report.csv"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "nowhere"])
def test_an_address_without_a_cluster_is_refused_at_once(address: str, job: CrewJob) -> None:
    with pytest.raises(OptionError, match=f"No Ray cluster answers at {address}"):
        ray_crew(address, job)


def test_the_cases_of_a_node_that_is_lost_are_done_by_the_others(job: CrewJob) -> None:
    cases = [simulated(number, "slow") for number in range(60)]
    with local_cluster(3) as cluster:
        victim = sorted(cluster.worker_nodes, key=lambda node: node.unique_id)[0]

        def told(number: int, _total: int, _row: Row) -> None:
            if number == 20:
                cluster.remove_node(victim, allow_graceful=False)

        rows = run_with_crew(
            job, RECIPE, cases, lambda seen: ray_crew(cluster.address, seen, None, PROGRAM), told
        )
    check(job, cases, rows)
    times = Counter((job.output.parent / LOG).read_text(encoding="utf-8").splitlines())
    again = [name for name, count in times.items() if count > 1]
    assert len(again) <= 3  # at most those that the lost node had
