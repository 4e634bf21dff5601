"""Volumes of the scene, all or chosen ones, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from mednext.batch.case_outcome import done, failure, settled, with_model
from mednext.batch.report import Report, Row
from mednext.errors import GeometryError
from mednext.model.description import Model
from mednext.segmentation.intensities import INTENSITIES
from mednext.segmentation.provenance import model_words

from ..engine.run import Run, Steps
from ..run_options import RunOptions
from ..scene.result_record import ATTRIBUTE_PREFIX, images_of, provenance_of, volumes_of
from .scene_cases import SceneCase, Volume, casesOfScene

Segment = Callable[[Run[Any], Sequence[Volume]], Steps[slicer.vtkMRMLSegmentationNode]]


@dataclass(frozen=True, eq=False)
class SceneResult:
    """The outcome of a case: a row of the report, and its segmentation if there is one."""

    row: Row
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None


def caseSteps(
    run: Run[Any],
    results: list[SceneResult],
    model: Model,
    options: RunOptions,
    segment: Segment,
    *,
    volumes: Sequence[Volume] | None = None,
    again: bool = False,
    reportFile: str | Path | None = None,
) -> Steps[list[SceneResult]]:
    """Segment the cases of Slicer's scene with `segment`; see `MedNeXtSegmentationLogic.segmentScene`.

    Fills `results`, and returns it. The run reports the events of each case, which also have "case" and
    "cases", and at its end {"event": "row", "number": 1, "total": 3, "row": ...}.
    """
    report = Report(Path(reportFile)) if reportFile else None
    cases = casesOfScene(slicer.mrmlScene, model, chosen=volumes)
    for number, each in enumerate(cases, start=1):
        made: list[slicer.vtkMRMLSegmentationNode] = []
        row = settled(each.case)
        if row is None and not again:
            made += _present(each, model, options)
        if row is None and not made:
            place = {"case": number, "cases": len(cases)}
            try:
                with run.telling(lambda event, place=place: {**event, **place}):
                    made.append((yield from segment(run, each.volumes)))
            except Exception as error:  # noqa: BLE001  # boundary: no failure of one case stops the others
                row = failure(each.case, error)
        row = with_model(row or _row(each, made[0]), model_words(model, ()))
        results.append(SceneResult(row, made[0] if made else None))
        if report:
            report.put(row)
        run.report({"event": "row", "number": number, "total": len(cases), "row": row})
    if report:
        report.flush()
    return results


def _row(each: SceneCase, node: slicer.vtkMRMLSegmentationNode) -> Row:
    """The row of a case with a result."""
    volumes = volumes_of(node)
    warning = "" if any(volumes.values()) else "No structure was found."
    return done(each.case, node.GetName(), provenance_of(node), volumes, warning)


def _present(each: SceneCase, model: Model, options: RunOptions) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    """Existing segmentations of these volumes that equal the result of this run."""
    scene, first = each.volumes[0].GetScene(), each.volumes[0]
    if scene is None:  # removed since the batch began; the run reports it
        return
    with suppress(GeometryError):  # the region has no place in the volume; the run reports it
        wanted = _recipe(model, options, first)
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
            node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
            told = {key: node.GetAttribute(ATTRIBUTE_PREFIX + key) or "" for key in wanted}
            measured = not options.intensities or node.GetAttribute(ATTRIBUTE_PREFIX + INTENSITIES)
            if told == wanted and measured and images_of(node) == list(each.volumes):
                yield node


def _recipe(model: Model, options: RunOptions, volume: Volume) -> dict[str, str]:
    """The attributes of a result of this run."""
    return options.optionsIn(volume).recipe_with(model, options.labels)
