"""All cases of a folder: the worker finds, reads, segments and writes them; Slicer reads only the scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mednext.batch.case import Case, folder_name, relative
from mednext.batch.report import Row
from mednext.batch.scene_files import files_of_scene
from mednext.errors import UnreadableImageError
from mednext.images.source_image import SourceImage
from mednext.model.description import Model
from mednext.system.file_names import as_compared, told_apart
from mednext.worker.batch_request import BatchJob
from mednext.worker.protocol import Order

from ..engine.run import ProgressCallback, Run, Steps
from ..engine.worker_client import WorkerClient
from ..scene.volumes.voxel_feed import channelsForRun
from .scene_cases import casesOfScene
from .scene_from_file import sceneFromFile


class FolderBatch:
    """Segments the cases of a folder; see `MedNeXtSegmentationLogic.segmentFolder`."""

    def __init__(
        self,
        place: Path,
        output: Path,
        model: Model,
        order: Order,
        *,
        client: WorkerClient,
        structures: tuple[str | int, ...] | None = None,
        resume: bool = True,
        progressCallback: ProgressCallback | None = None,
        caseCallback: Callable[[int, int, Row], Any] | None = None,
    ) -> None:
        self._place = place
        self._root = place if place.is_dir() else place.parent
        self._output = output
        self._model = model
        self._order = order
        self._client = client
        self._structures = structures
        self._resume = resume
        self._progress = progressCallback
        self._told = caseCallback

    def run(self) -> list[Row]:
        """Segment all cases, and return a row for each. Raises the errors of `WorkerClient.batching`."""
        return Run(self._steps).wait(self._hear, live_windows=True)

    def _steps(self, run: Run[Any]) -> Steps[list[Row]]:
        outcome = yield from self._client.batching(run, self._job(None), _noChannels)
        rows = list(outcome.rows)
        names = self._namesOf(outcome.scenes, [row.case for row in rows])
        for scene, name in zip(outcome.scenes, names, strict=True):
            rows += yield from self._scene(run, scene, name)
        return rows

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "row":
            if self._told:
                self._told(event["number"], event["total"], Row(**event["row"]))
        elif self._progress:
            self._progress(event)

    def _namesOf(self, scenes: Sequence[Path], cases: Sequence[str]) -> list[str]:
        """A name for each scene, different from all others and from folders with results of images."""
        taken = {as_compared(parent.as_posix()) for case in cases for parent in Path(case).parents}
        short = [folder_name(scene.with_suffix(""), self._root) for scene in scenes]
        long = [folder_name(scene, self._root) for scene in scenes]
        names = [b if as_compared(a) in taken else a for a, b in zip(short, long, strict=True)]
        return told_apart(names, long)

    def _scene(self, run: Run[Any], path: Path, name: str) -> Steps[list[Row]]:
        """Read one scene file, and segment its cases."""
        try:
            with sceneFromFile(path) as scene:
                inScene = {each.case.name: each for each in casesOfScene(scene, self._model, f"{name}/")}
                cases = [self._caseOf(path, each.case) for each in inScene.values()]
                return (
                    yield from self._batch(run, cases, lambda case: channelsForRun(inScene[case].volumes))
                )
        except UnreadableImageError as error:
            broken = Case(name, (), (path,), relative(path, self._root), problem=error)
            return (yield from self._batch(run, [broken], _noChannels))

    def _caseOf(self, path: Path, case: Case) -> Case:
        source = f"{relative(path, self._root)}: {case.source}"
        return Case(case.name, (), (path, *files_of_scene(path)), source, case.problem, case.left_out)

    def _batch(
        self, run: Run[Any], cases: Sequence[Case], channelsOf: Callable[[str], Sequence[SourceImage]]
    ) -> Steps[list[Row]]:
        outcome = yield from self._client.batching(run, self._job(tuple(cases)), channelsOf)
        return list(outcome.rows)

    def _job(self, cases: tuple[Case, ...] | None) -> BatchJob:
        place, output = self._place.absolute(), self._output.absolute()
        return BatchJob(place, output, self._order, self._resume, cases, self._structures)


def _noChannels(_case: str) -> Sequence[SourceImage]:
    """No channels: the worker reads files by itself."""
    return ()
