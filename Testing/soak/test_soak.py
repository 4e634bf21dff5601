"""Hundreds of runs of one session leave memory, handles, threads, files and the scene as they were.

`MEDNEXT_SOAK` is the number of segmentations in Slicer; `make soak` takes 500, the suite a few.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.machines.process_resources import RUNS, Soak
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_regions
from mednext.errors import Cancelled
from mednext.images.geometry import Roi
from mednext.model.description import Channel

QUEUED = 20
TYPES = (np.uint8, np.int16, np.uint16, np.float32, np.float64)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the memory of other processes"),
    pytest.mark.timeout(300 + 5 * RUNS),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The folders of several models, and the number of channels of each."""
    folder = tmp_path_factory.mktemp("models")
    two = (Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore_masked"))
    made = [
        tiny_bundle(folder / "tiny"),
        tiny_bundle(folder / "folds", folds=(0, 1), pipeline="nnunet_v1", spacing=(1.5, 1.5, 1.5)),
        tiny_bundle(folder / "regions", **tiny_regions(), keep_largest=(1,), orientation="LPS"),
        tiny_bundle(folder / "two", network=replace(TINY_NETWORK, in_channels=2), channels=two),
    ]
    return {str(each.path): len(each.model.channels) for each in made}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent of all temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def client() -> Iterator[Any]:
    """The session's client of the worker, whose worker ends with the test."""
    from MedNeXtSegmentationLib.engine.worker_client import shared_client

    yield shared_client()
    shared_client().shutdown()


def in_shared_memory() -> int:
    return len(os.listdir("/dev/shm"))  # noqa: PTH208


def observers(scene: Any) -> int:
    """Of the scene and of its nodes, as VTK tells them."""
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return sum(str(each).count("vtkObserver (") for each in (scene, *nodes))


def random_volumes(scene: Any, chance: random.Random, count: int) -> list[Any]:
    """Volume nodes of one study: any size, orientation, spacing and type of voxels."""
    from fixtures.scene.volume_nodes import add_volume, head

    shape = [chance.randint(12, 44) for _ in range(3)]
    axes = np.eye(4)[[*chance.sample(range(3), 3), 3]]
    signs = [*(chance.choice((-1.0, 1.0)) for _ in range(3)), 1.0]
    spacings = [*(chance.uniform(0.7, 1.6) for _ in range(3)), 1.0]
    matrix = axes * signs * spacings
    matrix[:3, 3] = [chance.uniform(-100, 100) for _ in range(3)]
    kind = chance.choice(TYPES)
    voxels = [head(shape, seed).clip(0, 255).astype(kind) for seed in chance.sample(range(20), count)]
    return [
        add_volume(scene, each, matrix, name) for each, name in zip(voxels, ("T1", "FLAIR"), strict=False)
    ]


def random_options(chance: random.Random, volume: Any) -> dict[str, Any]:
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    region = Roi(tuple(low + 0.2 * (high - low)), tuple(high - 0.2 * (high - low)))
    return {
        "device": "cpu",
        "uncertainty": chance.random() < 0.3,
        "mirroring": chance.random() < 0.3,
        "intensities": chance.random() < 0.3,
        "roi": region if chance.random() < 0.3 else None,
        "step": chance.choice((None, 0.75)),
        "precision": chance.choice((None, "bfloat16")),
    }


def empty(scene: Any, known: set[str]) -> None:
    """Remove the nodes that a user would delete, with all that belongs to them."""
    for number in reversed(range(scene.GetNumberOfNodes())):
        node = scene.GetNthNode(number)
        if node and node.GetID() not in known and node.IsA("vtkMRMLDisplayableNode"):
            scene.RemoveNode(node)


def test_a_session_of_many_segmentations_leaves_nothing(
    scene: Any, logic: Any, client: Any, models: dict[str, int], temporary: Path
) -> None:
    chance = random.Random(1)
    logic.segment(random_volumes(scene, chance, 1), next(iter(models)), device="cpu")
    empty(scene, set())
    known = {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}
    soak = Soak(
        "one session of Slicer, one worker",
        {
            "nodes in the scene": scene.GetNumberOfNodes,
            "observers of the scene and its nodes": lambda: observers(scene),
            "temporary files": lambda: len(os.listdir(temporary)),  # noqa: PTH208
            "files in shared memory": in_shared_memory,
        },
    )
    worker = client.process.pid
    for _ in range(RUNS):
        model, channels = chance.choice(list(models.items()))
        volumes = random_volumes(scene, chance, channels)
        begin = time.monotonic()
        node = logic.segment(volumes, model, **random_options(chance, volumes[0]))
        if chance.random() < 0.2:  # a second result replaces the segments, and is undone
            logic.segment(volumes, model, device="cpu", segmentationNode=node)
            logic.undo(node)
        seconds = time.monotonic() - begin
        assert node.GetSegmentation().GetNumberOfSegments() > 0
        empty(scene, known)
        soak.add(seconds, slicer=None, worker=client.process.pid)
    assert client.process.pid == worker
    soak.keep()


def test_requests_that_are_queued_and_cancelled_in_random_order_leave_nothing(
    scene: Any, logic: Any, client: Any, models: dict[str, int], temporary: Path
) -> None:
    import slicer
    import slicer_standin

    chance = random.Random(2)
    model = next(iter(models))
    soak = Soak(
        f"{QUEUED} requests queued at a time, most of them cancelled",
        {"temporary files": lambda: len(os.listdir(temporary))},  # noqa: PTH208
    )
    for _ in range(max(1, RUNS // 50)):
        begin, done, failed = time.monotonic(), [], []
        runs = [
            logic.segmentAsync(
                random_volumes(scene, chance, 1),
                model,
                device="cpu",
                onDone=done.append,
                onError=failed.append,
            )
            for _ in range(QUEUED)
        ]
        doomed = chance.sample(runs, QUEUED - 4)
        while not all(run.finished for run in runs):
            slicer.app.processEvents()
            slicer_standin.rest(0.005)
            if doomed and chance.random() < 0.5:
                doomed.pop().cancel()
        assert len(done) + len(failed) == QUEUED and len(done) >= 4
        assert all(isinstance(error, Cancelled) for error in failed)
        assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == len(done)
        scene.Clear(0)
        soak.add(time.monotonic() - begin, slicer=None, worker=client.process.pid)
    soak.keep()
