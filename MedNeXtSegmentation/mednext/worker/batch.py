"""Run a batch in the worker: the cases of a folder, or of a scene, whose voxels it requests one by one."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ..batch.case import Case
from ..batch.case_finding import find_cases
from ..batch.report import Row
from ..batch.scene_files import files_of_scene
from ..errors import OptionError
from ..images.volume import Volume
from ..inference.loaded_networks import LoadedNetworks
from ..inference.progress import Progress
from ..model.description import Model
from ..remote.segmenter import segmenter
from ..system.cancellation import POLL_S, check_cancelled
from ..system.json_reading import read_json
from . import protocol
from .batch_request import BatchJob, BatchOutcome
from .received_volume import received_volume
from .segmenting_batch import Show, segmenting_batch


def carry_out(
    request: protocol.BatchRequest,
    say: Callable[[protocol.Message], None],
    provided: queue.SimpleQueue[str],
    cancelled: Callable[[], bool],
    networks: LoadedNetworks,
) -> None:
    """Segment all cases of a batch, and write the outcome beside the job.

    Args:
        say: sends an event to the client.
        provided: the client's answers to the event "wanted": folders with the voxels of a case.
        cancelled: whether the client has cancelled.

    Raises the errors of `Batch.run`, and `OptionError` for a folder without any case.
    """
    folder = Path(request.folder)
    job = BatchJob.read(folder)
    runs = segmenter(job.order.model, request.server, networks, job.order.description)
    cases, scenes = _found(job, runs.model) if job.cases is None else (job.cases, ())

    def wanted(case: Case) -> list[Volume]:
        """Request the images of a case of a scene from the client. Runs in the reader's thread."""
        say({"event": "wanted", "run": request.run, "case": case.name})
        while True:
            check_cancelled(cancelled)
            try:
                return _volumes_in(Path(provided.get(timeout=POLL_S)))
            except queue.Empty:
                continue

    def told(number: int, total: int, row: Row) -> None:
        say({"event": "row", "run": request.run, "number": number, "total": total, "row": asdict(row)})

    def show(progress: Progress) -> None:
        say({"event": "progress", "run": request.run, **asdict(progress)})

    @contextmanager
    def showing() -> Iterator[Show]:
        say(protocol.progress_event(request.run, "reading"))
        yield show

    with segmenting_batch(
        job.output,
        runs,
        job.order.options,
        showing=showing,
        wanted=wanted,
        resume=job.resume,
        told=told,
        cancelled=cancelled,
        structures=job.structures,
    ) as batch:
        rows = batch.run(cases)
    BatchOutcome(tuple(rows), scenes).write(folder)


def _found(job: BatchJob, model: Model) -> tuple[tuple[Case, ...], tuple[Path, ...]]:
    """The cases of the folder, without the files of its scenes, and the scenes."""
    found = find_cases(job.place, model, job.output)
    of_scenes = {file for scene in found.scenes for file in files_of_scene(scene)}
    cases = tuple(case for case in found.cases if not {file.resolve() for file in case.files} & of_scenes)
    if not cases and not found.scenes:
        raise OptionError(f"{job.place} holds no images: give the folder with the images.")
    return cases, found.scenes


def _volumes_in(folder: Path) -> list[Volume]:
    """Load the volumes that the client wrote into a folder, and remove it. Raises an error in the folder."""
    try:
        if (folder / protocol.ERROR_FILE).exists():
            raise protocol.error_from_event(read_json(folder / protocol.ERROR_FILE, OptionError))
        channels, _, _ = protocol.read_request(folder)
        volumes = map(received_volume, channels)
        return [replace(volume, array=np.array(volume.array)) for volume in volumes]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
