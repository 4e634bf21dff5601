"""Run a batch in the worker: the cases of a folder, or of a scene, whose voxels it requests one by one."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..batch.case import Case
from ..batch.case_finding import find_cases
from ..batch.report import Row
from ..batch.run import Alive, Batch
from ..batch.scene_files import files_of_scene
from ..errors import OptionError
from ..images.volume import Volume
from ..inference.loaded_networks import LoadedNetworks
from ..inference.options import Options
from ..inference.progress import Progress
from ..model.description import Model
from ..remote.address import Server
from ..remote.segmenter import Segmenter, segmenter
from ..segmentation.result import Segmentation
from ..system.cancellation import POLL_S, check_cancelled
from ..system.json_reading import read_json
from . import protocol
from .batch_request import BatchJob, BatchOutcome
from .reading_process import ReadingProcess
from .received_volume import received_volume


@dataclass(eq=False)
class WorkerBatch:
    """Carries out the batch in `folder`.

    say: sends an event to the client.
    provided: the client's answers to the event "wanted": folders with the voxels of a case.
    cancelled: whether the client has cancelled.
    """

    run: int
    folder: Path
    say: Callable[[protocol.Message], None]
    provided: queue.SimpleQueue[str]
    cancelled: Callable[[], bool]
    networks: LoadedNetworks
    server: Server | None = None

    def carry_out(self) -> None:
        """Segment all cases, and write the outcome beside the job.

        Raises the errors of `Batch.run`, and `OptionError` for a folder without any case.
        """
        job = BatchJob.read(self.folder)
        order = job.order
        runs, options = segmenter(order.model, self.server, self.networks, order.description), order.options
        cases, scenes = _found(job, runs.model) if job.cases is None else (job.cases, ())
        with ReadingProcess() as reading:
            batch = Batch.of(
                job.output,
                runs.model,
                options,
                lambda case: reading.read(case.images, options.insist) if case.images else self._wanted(case),
                lambda case, volumes, alive: self._segment(runs, options, volumes, alive),
                resume=job.resume,
                told=self._told,
                cancelled=self.cancelled,
                structures=job.structures,
            )
            rows = batch.run(cases)
        BatchOutcome(tuple(rows), scenes).write(self.folder)

    def _wanted(self, case: Case) -> list[Volume]:
        """Request the images of a case of a scene from the client. Runs in the reader's thread."""
        self.say({"event": "wanted", "run": self.run, "case": case.name})
        while True:
            check_cancelled(self.cancelled)
            try:
                folder = Path(self.provided.get(timeout=POLL_S))
            except queue.Empty:
                continue
            return _volumes_in(folder)

    def _segment(
        self, runs: Segmenter, options: Options, volumes: list[Volume], alive: Alive
    ) -> Segmentation:
        def report(progress: Progress) -> None:
            check_cancelled(self.cancelled)
            alive()
            self.say({"event": "progress", "run": self.run, **asdict(progress)})

        self.say(protocol.progress_event(self.run, "reading"))
        return runs.segment(volumes, options, report, self.cancelled)

    def _told(self, number: int, total: int, row: Row) -> None:
        told = {"number": number, "total": total, "row": asdict(row)}
        self.say({"event": "row", "run": self.run, **told})


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
