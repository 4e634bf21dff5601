"""Time of a large result from a volume to a segmentation node, while Slicer's event loop runs.

    python -m benchmarks.hand_over

512 x 512 x 300 voxels, 14 classes, uncertainty. The worker has its result at once, without a network, and
does all else. It is measured in one process with a loop that keeps Python's lock, like Slicer's, and with
one that releases it: the ratio counts.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import ROOT

SHAPE = (300, 512, 512)
ROUNDS = 3
GOALS = "ratio at most 1.5, no standstill over 0.1 s, cancelled in less than 2 s"

WORKER = """
import sys, time
import numpy as np
from mednext.inference import segment as engine
from mednext.system.cancellation import check_cancelled
from mednext.model.labels import Label
from mednext.inference.progress import Progress
from mednext.segmentation.result import Segmentation

SHAPE = {shape}
tile = np.random.default_rng(0).random((1, 64, 64), dtype=np.float32) ** 8
UNCERTAINTY = np.ascontiguousarray(np.broadcast_to(np.tile(tile, (1, 8, 8)), SHAPE))
LABELMAP = np.zeros(SHAPE, np.uint8)
for value in range(1, 15):
    LABELMAP[10:-10, 20 + 30 * value : 45 + 30 * value, 40:470] = value
LABELS = tuple(Label(value, f"structure {{value}}", (value, 90, 200)) for value in range(1, 15))

def segment(volumes, model, *, progress, cancelled, **_options):
    (volume,) = volumes
    while model == "endless":
        check_cancelled(cancelled)
        progress(Progress("network", 1, 100))
        time.sleep(0.05)
    return Segmentation(LABELMAP, volume.geometry, LABELS, {{"model": model}}, UNCERTAINTY)

engine.segment = segment
from mednext.worker.serving import main
sys.exit(main(sys.argv[3:]))
"""


def main() -> None:
    """Measure, and print seconds, standstill and cancel."""
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "MedNeXtSegmentation")]
    import slicer_standin

    core = slicer_standin.start()
    import slicer
    from MedNeXtSegmentationLib.engine.worker_client import WorkerClient

    volume = core.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(volume, np.zeros(SHAPE, np.int16))
    with tempfile.TemporaryDirectory() as folder:
        client = WorkerClient(_program(Path(folder)))
        try:
            _until_finished(_run(client, volume, "once"), *_with_lock())  # imports torch, fills caches
            seconds: dict[str, list[float]] = {"with the lock": [], "without": []}
            longest = 0.0
            for _ in range(ROUNDS):
                for name, loop in (("with the lock", _with_lock()), ("without", _without_lock())):
                    taken, standstill = _until_finished(_run(client, volume, "once"), *loop)
                    seconds[name].append(taken)
                    longest = max(longest, standstill if name == "with the lock" else 0.0)
            cancelled = _cancelled(client, volume)
        finally:
            client.shutdown()
    held, released = min(seconds["with the lock"]), min(seconds["without"])
    sys.stdout.write(
        f"hand-over with the lock {held:.2f} s, without {released:.2f} s, ratio {held / released:.2f}\n"
        f"longest standstill with the lock {longest:.3f} s, cancelled after {cancelled:.2f} s\n"
        f"goals: {GOALS}\n"
    )


def _program(folder: Path) -> str:
    """A program in place of Python, whose worker has no network."""
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\n" + textwrap.dedent(WORKER).format(shape=SHAPE), encoding="utf-8"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def _run(client: Any, volume: Any, model: str) -> Any:
    from mednext.worker.protocol import Order
    from MedNeXtSegmentationLib.engine.run import Run
    from MedNeXtSegmentationLib.scene.results.result_place import ResultPlace
    from MedNeXtSegmentationLib.scene.volumes.voxel_feed import channelsForRun
    from MedNeXtSegmentationLib.sequences.sequence_run import taking

    place, channels = ResultPlace([volume]), channelsForRun([volume])

    def steps(run: Any) -> Any:
        prepared = yield from client.segmenting(run, channels, Order(model), place.wishes, taking(place))
        return place.add(prepared)

    return Run(steps)


def _with_lock() -> tuple[Callable[[], object], Callable[[float], object]]:
    import slicer
    from slicer_standin import rest

    return slicer.app.processEvents, rest


def _without_lock() -> tuple[Callable[[], object], Callable[[float], object]]:
    from slicer_standin.pythonqt.event_loop import process_events_without_lock

    return process_events_without_lock, time.sleep


def _until_finished(
    run: Any, process_events: Callable[[], object], rest: Callable[[float], object]
) -> tuple[float, float]:
    """Seconds until the node is in the scene, and the longest standstill of the event loop."""
    begin, longest = time.monotonic(), 0.0
    made: list[Any] = []
    run.follow(onDone=made.append, onError=made.append)
    while run.running:
        looked = time.monotonic()
        process_events()
        longest = max(longest, time.monotonic() - looked)
        rest(0.002)
    seconds = time.monotonic() - begin
    if isinstance(made[0], Exception):
        raise made[0]
    scene = made[0].GetScene()
    for node in [made[0], *_volumes_but_first(scene)]:
        scene.RemoveNode(node)
    return seconds, longest


def _volumes_but_first(scene: Any) -> list[Any]:
    name = "vtkMRMLScalarVolumeNode"
    return [scene.GetNthNodeByClass(index, name) for index in range(1, scene.GetNumberOfNodesByClass(name))]


def _cancelled(client: Any, volume: Any) -> float:
    """Seconds from the cancel of a running network to the end of the run."""
    process_events, rest = _with_lock()
    run = _run(client, volume, "endless")
    told: list[dict[str, Any]] = []
    heard: list[Exception] = []
    run.follow(onProgress=told.append, onError=heard.append)
    while not any(event["stage"] == "network" for event in told):
        process_events()
        rest(0.01)
    begin = time.monotonic()
    run.cancel()
    while run.running:
        process_events()
        rest(0.01)
    return time.monotonic() - begin


if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    main()
