"""Batches killed at random moments, alone and several on one folder: each case once, as if undisturbed.

`MEDNEXT_KILLS` is the number of kills; `make department` sets it to 100, `make faults` kills 50 times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures.batch.simulated_hand import expected, simulated
from fixtures.faults.fault_table import Tally, injections
from mednext.batch.report import Report
from mednext.images.formats.nrrd_header import nrrd_header
from mednext.images.formats.stored_voxels import read_voxels

KILLS = int(os.environ.get("MEDNEXT_KILLS") or injections(50, 2))
CASES = 16
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and process groups")


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """A process with a batch in the folder."""
    paths = [ROOT / "MedNeXtSegmentation", ROOT / "Testing"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    program = [sys.executable, "-m", "fixtures.batch.simulated_batch", str(folder), str(workers), str(CASES)]
    return subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL)


def pids_below(pid: int) -> list[int]:
    """The processes that a process started."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.timeout(300 + 10 * KILLS)
def test_batches_that_are_killed_leave_each_case_once_and_as_if_undisturbed(
    tmp_path: Path, batches: int
) -> None:
    dice, output, kills, rounds = random.Random(batches), tmp_path / "out", 0, 0
    while kills < KILLS:
        rounds += 1
        for path in output.rglob("*.seg.nrrd") if rounds % 3 == 0 else ():
            path.unlink()  # enough to do for the next kills
        running = [start(tmp_path, workers=2) for _ in range(batches)]
        time.sleep(dice.uniform(0.2, 2.5))
        for process in running:
            victims = [process.pid, *pids_below(process.pid)]
            victim = dice.choice(victims)
            try:
                os.kill(victim, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        for process in running:
            assert process.wait(timeout=120) in (0, 3, -signal.SIGKILL)
    last = start(tmp_path, workers=2)
    assert last.wait(timeout=120) == 0
    cases = [simulated(number) for number in range(CASES)]
    files = sorted(path.name for path in output.rglob("*"))
    assert files == sorted([*(f"{case.name}.seg.nrrd" for case in cases), "report.csv"])
    for case in cases:
        labels, _ = read_voxels(nrrd_header(output / f"{case.name}.seg.nrrd").voxels)
        np.testing.assert_array_equal(labels, expected(case).labelmap)
    rows = Report(output / "report.csv").rows()
    assert [(row.case, row.status) for row in rows] == [(case.name, "done") for case in cases]
    who = "one batch with two workers" if batches == 1 else "two batches with two workers each on one folder"
    tally = Tally("a batch", f"scheduler or worker killed: {who}")
    tally.add("as an undisturbed run in the end: every case once", kills)
    tally.keep()
