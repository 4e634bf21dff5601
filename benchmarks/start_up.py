"""Seconds from a start to the first tile and to the result, cold and warm, and of imports alone."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from mednext.images.geometry import Geometry
from mednext.images.source_image import SourceImage
from mednext.images.volume import write_image
from mednext.inference.options import Options
from mednext.worker import protocol

from . import ROOT, Settings
from .children import median_seconds_of
from .report import Row, table

ONE_TILE = (32, 48, 32)  # x, y, z: the default model's patch on an image's axes
CROP = (35, 50, 36)  # a usual crop of its training set

COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "Python alone, for comparison": (["-c", "pass"], None),
    "`import mednext`": (["-c", "import mednext"], 0.15),
    "`mednext --help`": (["-m", "mednext", "--help"], 0.2),
    "`import torch`, for comparison": (["-c", "import torch"], None),
}
GOALS = {"worker, cold, one tile: result": 5.0, "worker, warm, one tile: result": 0.5}


def measure(settings: Settings) -> str:
    """A table of medians of processes of their own; disk caches are warm."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        image, result = Path(folder) / "image.nii.gz", Path(folder) / "result.seg.nrrd"
        write_image(image, _voxels(ONE_TILE), Geometry(ONE_TILE, (1.0, 1.0, 1.0)))
        run = ["-m", "mednext", "segment", str(image), "-o", str(result), "--device", "cpu", "--overwrite"]
        for name, (command, goal) in (COMMANDS | {"`mednext segment`, one tile": (run, 5.0)}).items():
            median_seconds_of(command, 1)
            seconds, processor = median_seconds_of(command, settings.rounds)
            rows.append({"": name, "seconds": seconds, "of the processor": processor, "goal": goal})
    runs = [_runs() for _ in range(settings.rounds)]
    for name in runs[0]:
        seconds = statistics.median(run[name] for run in runs)
        rows.append({"": name, "seconds": seconds, "goal": GOALS.get(name)})
    return table("Start", rows)


def _voxels(size: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(1000, 200, size=size[::-1]).astype(np.float32)


def _runs() -> dict[str, float]:
    """Seconds to the first tile and to the result, with a new worker and with the same one again."""
    sys.path.insert(0, str(ROOT / "MedNeXtSegmentation"))
    from MedNeXtSegmentationLib.engine.worker_client import WorkerClient

    client = WorkerClient()
    try:
        seen: dict[str, float] = {}
        for name, size in (
            ("cold, one tile", ONE_TILE),
            ("warm, one tile", ONE_TILE),
            ("warm, a crop", CROP),
        ):
            first, result = _run(client, size)
            seen |= {f"worker, {name}: first tile": first, f"worker, {name}: result": result}
        return seen
    finally:
        client.shutdown()


def _run(client: object, size: tuple[int, int, int]) -> tuple[float, float]:
    channel = SourceImage("T1", _voxels(size), Geometry(size, (1.0, 1.0, 1.0)))
    first: list[float] = []

    def heard(event: protocol.Message) -> None:
        if event["stage"] == "network" and event["done"]:
            first.append(time.perf_counter() - started)

    started = time.perf_counter()
    client.start([channel], protocol.Order("hippocampus", Options("cpu"))).wait(heard)  # type: ignore[attr-defined]
    return first[0], time.perf_counter() - started
