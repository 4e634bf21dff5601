"""The logic of the module, for the Python console, for scripts and for the panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from mednext.errors import Cancelled, OptionError
from mednext.library.model_by_name import load_bundle
from mednext.model.description import Model
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .engine.run import ProgressCallback, Run, Steps
from .engine.worker_client import client_for
from .models_folder import useModelsFolder
from .run_options import RunOptions
from .scene.results.result_place import ResultPlace
from .scene.segments.segment_history import can_redo, can_undo, redo, undo
from .scene.volumes.voxel_feed import channelsForRun
from .sequences.frames import isSequence
from .sequences.sequence_run import startSequence, taking

if TYPE_CHECKING:
    from mednext.batch.report import Row

    from .batch.scene_batch import SceneResult

    Input = slicer.vtkMRMLScalarVolumeNode | slicer.vtkMRMLSequenceNode | slicer.vtkMRMLSequenceBrowserNode


class MedNeXtSegmentationLogic(ScriptedLoadableModuleLogic):
    """Segments volumes of the scene.

    from MedNeXtSegmentation import MedNeXtSegmentationLogic
    segmentationNode = MedNeXtSegmentationLogic().segment(volumeNode, model="hippocampus")

    The keyword arguments `options` of all methods are those of `RunOptions`: `roiNode`, `device`, `folds` ...
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        useModelsFolder()

    def segment(
        self,
        volumeNode: Input | Sequence[Input],
        model: str | Model = "hippocampus",
        *,
        progressCallback: ProgressCallback | None = None,
        **options: Any,
    ) -> slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLSequenceNode:
        """Segment a volume, wait for the result, and return its segmentation node: a new one on the volume's
        grid, or the one in the options. For a sequence, return a sequence of segmentations.

        volumeNode: the volume, or a list with one for each channel, in the model's order. Channels may
            differ in geometry and in linear transforms; the first one gives the grid. A sequence of volumes
            or its browser means all frames, the volume shown by a browser only that frame.
        model: name of an installed model, or the folder of one; with a server the name of the server's
            model, or its description.
        progressCallback: gets a dictionary with stage, done, total and remaining_s.

        Raises a `mednext.errors.MedNeXtError` whose message names the remedy; the scene is then unchanged.
        """
        return _start(volumeNode, model, RunOptions(**options)).wait(progressCallback)

    def segmentAsync(
        self,
        volumeNode: Input | Sequence[Input],
        model: str | Model = "hippocampus",
        *,
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[slicer.vtkMRMLNode], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
        **options: Any,
    ) -> Run[slicer.vtkMRMLNode]:
        """Begin to segment a volume and return at once; Slicer's event loop continues the run.

            running = logic.segmentAsync(volumeNode, onDone=lambda node: print(node.GetName()))
            running.cancel()

        The arguments are those of `segment`; for the callbacks see `Run.follow`. A volume that changes
        meanwhile gets no result.

        Raises errors of the nodes at once; passes every other error to `onError`.
        """
        return _start(volumeNode, model, RunOptions(**options)).follow(onProgress, onDone, onError)

    def segmentScene(
        self,
        model: str | Model = "hippocampus",
        *,
        volumeNodes: Sequence[slicer.vtkMRMLScalarVolumeNode] | None = None,
        again: bool = False,
        reportFile: str | Path | None = None,
        progressCallback: ProgressCallback | None = None,
        caseCallback: Callable[[int, int, Row], Any] | None = None,
        **options: Any,
    ) -> list[SceneResult]:
        """Segment every volume of the scene, or exactly these, and return the outcome of each.

        A model with several channels takes the volumes of a study with the names of its channels. Volumes
        that already have a result of the same model and options are skipped. A volume that cannot be
        segmented does not stop the others: its `row` has the reason.

        volumeNodes: those to segment; None for all. A model with several channels groups them.
        again: segment also volumes that already have a result.
        reportFile: a CSV file for the rows, written after each case.
        progressCallback: see `segment`; an exception in it ends the batch.
        caseCallback: gets number, count and row of each case.

        Raises errors that concern every volume, such as a missing model.
        """
        cases = {"volumes": volumeNodes, "again": again, "reportFile": reportFile}
        run = _startCases(model, RunOptions(**options), **cases)
        return run.wait(_hearing(progressCallback, caseCallback), live_windows=True)

    def segmentSceneAsync(
        self,
        model: str | Model = "hippocampus",
        *,
        volumeNodes: Sequence[slicer.vtkMRMLScalarVolumeNode] | None = None,
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[list[SceneResult]], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
        again: bool = False,
        reportFile: str | Path | None = None,
        caseCallback: Callable[[int, int, Row], Any] | None = None,
        **options: Any,
    ) -> Run[list[SceneResult]]:
        """Begin to segment volumes of the scene and return at once; Slicer's event loop continues the run.

        The arguments are those of `segmentScene`; for the callbacks see `Run.follow`. After `cancel` the run
        ends with the results that it has, which stay in the scene, or with `Cancelled` if it has none.
        """
        cases = {"volumes": volumeNodes, "again": again, "reportFile": reportFile}
        run = _startCases(model, RunOptions(**options), keep=True, **cases)
        return run.follow(_hearing(onProgress, caseCallback), onDone, onError)

    def segmentFolder(
        self,
        input: str | Path,
        output: str | Path,
        model: str | Model = "hippocampus",
        *,
        resume: bool = True,
        progressCallback: ProgressCallback | None = None,
        caseCallback: Callable[[int, int, Row], Any] | None = None,
        **options: Any,
    ) -> list[Row]:
        """Segment all images below a folder into files, and write `report.csv`; the scene is not touched.

        input: folder with volumes, cases of several channels, DICOM studies, scenes (`.mrb`, `.mrml`);
            docs/console.md defines a case.
        output: folder for `<case>.seg.nrrd` of each case, and `<case>.uncertainty.nii.gz` with `uncertainty`.
        resume: skip finished cases; otherwise segment them again. Corrected results stay either way.
        progressCallback, caseCallback: see `segmentScene`.
        options: a region is in the space of each image (mm RAS); `labels` are the structures that the files
            keep.

        Raises errors that concern every case: a missing model, an output folder that cannot be written, a
        full disk. Finished cases stay, and the next call resumes after them.
        """
        from .batch.folder_batch import FolderBatch

        chosen = RunOptions(**options)
        _refuseNode(chosen)
        described, named = _described(model, chosen)
        for fold in chosen.folds_of(described):
            described.fold(fold)
        batch = FolderBatch(
            Path(input),
            Path(output),
            described,
            chosen.forEngine(named),
            structures=None if chosen.labels is None else tuple(chosen.labels),
            resume=resume,
            client=client_for(chosen.server),
            progressCallback=progressCallback,
            caseCallback=caseCallback,
        )
        return batch.run()

    def undo(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """Restore the segments that the last run into this node has replaced; other segments stay.

        Raises `OptionError` when no run of this session has replaced segments of the node.
        """
        if not can_undo(segmentationNode):
            raise OptionError(f'There is nothing to undo in "{segmentationNode.GetName()}".')
        undo(segmentationNode)

    def redo(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """Restore the segments as they were before `undo`, with their corrections.

        Raises `OptionError` when nothing was undone since the last run into this node.
        """
        if not can_redo(segmentationNode):
            raise OptionError(f'There is nothing to redo in "{segmentationNode.GetName()}".')
        redo(segmentationNode)


def _refuseNode(options: RunOptions) -> None:
    if options.segmentationNode is not None:
        raise OptionError("The results of several volumes cannot go into one segmentation.")


def _hearing(
    progress: ProgressCallback | None, told: Callable[[int, int, Row], Any] | None
) -> ProgressCallback:
    """A callback for the events of a run of several cases, which tells rows apart from progress."""

    def hear(event: dict[str, Any]) -> None:
        if event.get("event") != "row":
            if progress:
                progress(event)
        elif told:
            told(event["number"], event["total"], event["row"])

    return hear


def _described(model: str | Model, options: RunOptions) -> tuple[Model, str | Model]:
    """The description of the model of several cases, and the model as `RunOptions.forEngine` takes it.

    Raises the errors of `load_bundle`, or of `served_model` for a run on a server.
    """
    if isinstance(model, Model):
        return model, model
    if options.server is not None:
        from mednext.remote.served_models import served_model  # not needed to load the module

        described = served_model(options.server, str(model))
        return described, described
    bundle = load_bundle(model)
    return bundle.model, str(bundle.path)


def _startCases(
    model: str | Model, options: RunOptions, *, keep: bool = False, **cases: Any
) -> Run[list[SceneResult]]:
    """The run that segments volumes of the scene, see `caseSteps`; with `keep` also a cancelled one has
    results."""
    from .batch.scene_batch import caseSteps  # not needed to load the module

    _refuseNode(options)
    described, named = _described(model, options)

    def segment(
        run: Run[Any], volumes: Sequence[slicer.vtkMRMLScalarVolumeNode]
    ) -> Steps[slicer.vtkMRMLSegmentationNode]:
        return (yield from _prepared(volumes, named, options)(run))

    def steps(run: Run[list[SceneResult]]) -> Steps[list[SceneResult]]:
        results: list[SceneResult] = []
        try:
            return (yield from caseSteps(run, results, described, options, segment, **cases))
        except Cancelled:
            if not keep or not results:
                raise
            return results

    return Run(steps)


def _start(
    volumeNode: Input | Sequence[Input],
    model: str | Model,
    options: RunOptions,
) -> Run[slicer.vtkMRMLNode]:
    """The run that segments and puts its result into the scene."""
    nodes = list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
    if any(isSequence(node) for node in nodes):
        return startSequence(client_for(options.server), nodes, model, options)
    return Run(_prepared(nodes, model, options))


def _prepared(
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode], model: str | Model, options: RunOptions
) -> Callable[[Run[Any]], Steps[slicer.vtkMRMLSegmentationNode]]:
    """The steps that segment the channels of one case. Raises the errors of the nodes at once."""
    client = client_for(options.server)
    channels = channelsForRun(nodes)
    order = options.forEngine(model, nodes[0])
    place = ResultPlace(
        nodes,
        options.segmentationNode,
        options.labels,
        order.options.roi,
        replace_corrected=options.replaceCorrected,
    )

    def steps(run: Run[Any]) -> Steps[slicer.vtkMRMLSegmentationNode]:
        prepared = yield from client.segmenting(run, channels, order, place.wishes, taking(place))
        run.check_cancelled()
        return place.add(prepared)

    return steps
