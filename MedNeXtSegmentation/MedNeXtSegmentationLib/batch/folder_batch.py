"""All cases of a folder, through the worker: the engine's batch, with Slicer's scenes besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mednext.batch import Alive, Batch
from mednext.batch_report import Row
from mednext.bundle import Bundle
from mednext.case_finding import Case, find_cases, folder_name, relative
from mednext.case_names import told_apart
from mednext.errors import OptionError, UnreadableImageError
from mednext.protocol import Channel, Options
from mednext.recipe import recipe
from mednext.segmentation import Segmentation
from mednext.volume import read_volume

from ..engine.run import ProgressCallback
from ..engine.worker_client import shared_client
from ..scene.voxels_for_run import channelsForRun
from .private_scene import filesOfScene, privateScene
from .scene_volumes import SceneCase, casesOfScene
from .waiting import waitFor


class FolderBatch:
    """Segments the cases of a folder; see `MedNeXtSegmentationLogic.segmentFolder`."""

    def __init__(
        self,
        place: Path,
        output: Path,
        bundle: Bundle,
        options: Options,
        *,
        resume: bool = True,
        progressCallback: ProgressCallback | None = None,
        caseCallback: Callable[[int, int, Row], Any] | None = None,
    ) -> None:
        self._place = place
        self._root = place if place.is_dir() else place.parent
        self._output = output
        self._bundle = bundle
        self._options = options
        self._resume = resume
        self._progress = progressCallback
        self._told = caseCallback
        self._inScene: dict[str, SceneCase] = {}

    def run(self) -> list[Row]:
        """What became of each case.

        Raises the errors of `Batch.run`, and `OptionError` for a folder without any case.
        """
        found = find_cases(self._place, self._bundle.model, self._output)
        ofScenes = {file for scene in found.scenes for file in filesOfScene(scene)}
        cases = [case for case in found.cases if not {file.resolve() for file in case.files} & ofScenes]
        if not cases and not found.scenes:
            raise OptionError(f"{self._place} holds no images: give the folder with the images.")
        rows = self._batch(cases)
        for scene, name in zip(found.scenes, self._namesOf(found.scenes, cases), strict=True):
            rows += self._scene(scene, name)
        return rows

    def _namesOf(self, scenes: Sequence[Path], cases: Sequence[Case]) -> list[str]:
        """For each scene a name that no other one has, and no folder with results of images."""
        taken = {parent.as_posix().casefold() for case in cases for parent in Path(case.name).parents}
        short = [folder_name(scene.with_suffix(""), self._root) for scene in scenes]
        long = [folder_name(scene, self._root) for scene in scenes]
        names = [b if a.casefold() in taken else a for a, b in zip(short, long, strict=True)]
        return told_apart(names, long)

    def _scene(self, path: Path, name: str) -> list[Row]:
        """The cases of one scene file, which is read only here."""
        try:
            with privateScene(path) as scene:
                inScene = casesOfScene(scene, self._bundle.model, f"{name}/")
                cases = [self._caseOf(path, each.case) for each in inScene]
                self._inScene = {each.case.name: each for each in inScene}
                return self._batch(cases)
        except UnreadableImageError as error:
            return self._batch([Case(name, (), (path,), relative(path, self._root), problem=error)])
        finally:
            self._inScene = {}

    def _caseOf(self, path: Path, case: Case) -> Case:
        source = f"{relative(path, self._root)}: {case.source}"
        return Case(case.name, (), (path, *filesOfScene(path)), source, case.problem, case.left_out)

    def _batch(self, cases: Sequence[Case]) -> list[Row]:
        options = self._options
        return Batch(
            self._output,
            recipe(self._bundle.model, options.folds, options.mirroring, precision=options.precision),
            self._bundle.model.labels,
            self._read,
            self._carryOut,
            resume=self._resume,
            told=self._told,
            regions=self._bundle.model.regions,
        ).run(cases)

    def _read(self, case: Case) -> list[Channel]:
        """The images of a case from their files; those of a scene stay for the main thread."""
        volumes = [read_volume(image, self._options.insist) for image in case.images]
        return [
            Channel(volume.name(0), volume.array[0], volume.geometry, volume.described[0], volume.warnings)
            for volume in volumes
        ]

    def _carryOut(self, case: Case, channels: list[Channel], alive: Alive) -> Segmentation:
        def progress(event: dict[str, Any]) -> None:
            alive()
            if self._progress:
                self._progress(event)

        inScene = self._inScene.get(case.name)
        read = channelsForRun(inScene.volumes) if inScene else channels
        return waitFor(shared_client().start(read, self._options), progress)
