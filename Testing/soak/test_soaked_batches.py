"""Many cases of a server's engine, of a batch's workers and of the console leave everything as it was."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.machines.process_resources import RUNS, Soak
from fixtures.models.bundles import tiny_bundle
from mednext.batch.case_finding import find_cases
from mednext.batch.report import Row
from mednext.images.formats.image_files import write_image
from mednext.images.geometry import Geometry
from mednext.inference.options import Options
from mednext.model.bundle import Bundle
from mednext.remote.segment import segment
from mednext.worker.crew.batch import run_with_crew
from mednext.worker.crew.job import CrewJob
from mednext.worker.crew.processes import ProcessCrew
from mednext.worker.protocol import Order

CASES = max(4, RUNS // 5)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the memory of other processes"),
    pytest.mark.timeout(300 + 5 * RUNS),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return lambda: len(os.listdir(folder))  # noqa: PTH208


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images of any size."""
    chance, folder = random.Random(3), tmp_path / "in"
    folder.mkdir()
    for number in range(CASES):
        size = (chance.randint(16, 44), chance.randint(16, 44), chance.randint(16, 44))
        voxels = np.random.default_rng(number).normal(500, 150, size[::-1]).astype(np.int16)
        write_image(folder / f"{number:04}.nii.gz", voxels, Geometry(size, (1.0, 1.1, 1.2)))
    return folder


def timed(soak: Soak, **processes: Any) -> Callable[[int, int, Row], None]:
    """Called after each case of a batch; the processes are asked for by functions."""
    last = time.monotonic()

    def told(_number: int, _total: int, row: Row) -> None:
        nonlocal last
        assert row.status == "done", row.error
        now = time.monotonic()
        soak.add(now - last, **{name: pid() for name, pid in processes.items()})
        last = now

    return told


def test_the_engine_of_a_server_leaves_nothing(
    tmp_path: Path, bundle: Bundle, temporary: Callable[[], int]
) -> None:
    pytest.importorskip("uvicorn", reason="the server's packages are not installed")
    from fixtures.servers.mednext_server import noise, running_server, wait_until

    chance = random.Random(4)
    soak = Soak("the engine of a server", {"temporary files": temporary})
    with running_server(tmp_path, [bundle]) as server:
        segment(noise(), bundle.model, server.access(), Options(mirroring=False))
        for number in range(CASES):
            begin = time.monotonic()
            options = Options(mirroring=False, uncertainty=chance.random() < 0.5)
            shape = [chance.randint(16, 44) for _ in range(3)]
            segment(noise(number, shape), bundle.model, server.access(), options)
            wait_until(lambda: not server.jobs() and not server.connections())
            soak.add(time.monotonic() - begin, server=None)
    soak.keep()


def test_the_workers_of_a_batch_leave_nothing(
    tmp_path: Path, bundle: Bundle, images: Path, temporary: Callable[[], int]
) -> None:
    soak = Soak("a batch with one worker process", {"temporary files": temporary})
    cases = find_cases(images, bundle.model).cases
    job = CrewJob(
        Order(str(bundle.path), Options("cpu", mirroring=False, threads=1)), str(images), tmp_path / "out", ""
    )
    started: list[ProcessCrew] = []

    class Seen(ProcessCrew):
        def start(self, place: int, tell: Any) -> Any:
            worker = super().start(place, tell)
            started.append(worker)
            return worker

    run_with_crew(
        job,
        job.order.options.recipe_with(bundle.model, None),
        cases,
        lambda seen: Seen([seen]),
        told=timed(soak, scheduler=lambda: None, worker=lambda: int(started[0].name)),
    )
    assert len(started) == 1
    soak.keep()


def test_the_console_of_slicer_leaves_nothing(
    scene: Any, tmp_path: Path, bundle: Bundle, images: Path, temporary: Callable[[], int]
) -> None:
    import slicer_standin
    from fixtures.panel.driving import MODULE
    from MedNeXtSegmentationLib.engine.worker_client import shared_client

    logic = slicer_standin.load_module(MODULE).MedNeXtSegmentationLogic()
    soak = Soak("segmentFolder in Slicer's console", {"nodes in the scene": scene.GetNumberOfNodes})
    told = timed(soak, slicer=lambda: None, worker=lambda: shared_client().process.pid)
    try:
        rows = logic.segmentFolder(
            images, tmp_path / "out", str(bundle.path), device="cpu", mirroring=False, caseCallback=told
        )
    finally:
        shared_client().shutdown()
    assert len(rows) == CASES
    assert not temporary()
    soak.keep()
