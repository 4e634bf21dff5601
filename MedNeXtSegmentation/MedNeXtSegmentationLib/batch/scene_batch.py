"""All volumes of the scene, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from mednext.batch.case_outcome import done, outcome, settled, with_model
from mednext.batch.report import Report, Row
from mednext.errors import GeometryError
from mednext.model.description import Model
from mednext.segmentation.intensities import INTENSITIES
from mednext.segmentation.provenance import model_words

from ..run_options import RunOptions
from ..scene.result_record import ATTRIBUTE_PREFIX, images_of, provenance_of, volumes_of
from .scene_cases import SceneCase, Volume, casesOfScene

Segment = Callable[[Sequence[Volume]], slicer.vtkMRMLSegmentationNode]


@dataclass(frozen=True, eq=False)
class SceneResult:
    """The outcome of a case: a row of the report, and its segmentation if there is one."""

    row: Row
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None


def segmentCases(
    model: Model,
    options: RunOptions,
    segment: Segment,
    *,
    again: bool = False,
    reportFile: str | Path | None = None,
    caseCallback: Callable[[int, int, Row], Any] | None = None,
) -> list[SceneResult]:
    """Segment all cases of Slicer's scene with `segment`; see `MedNeXtSegmentationLogic.segmentScene`."""
    report = Report(Path(reportFile)) if reportFile else None
    cases = casesOfScene(slicer.mrmlScene, model)
    results: list[SceneResult] = []
    for each in cases:
        made: list[slicer.vtkMRMLSegmentationNode] = []
        row = settled(each.case)
        if row is None:
            if not again:
                made += _present(each, model, options)
            row = outcome(each.case, lambda each=each, made=made: _segmented(each, made, segment))
        row = with_model(row, model_words(model, ()))
        results.append(SceneResult(row, made[0] if made else None))
        if report:
            report.put(row)
        if caseCallback:
            caseCallback(len(results), len(cases), row)
    if report:
        report.flush()
    return results


def _segmented(each: SceneCase, made: list[slicer.vtkMRMLSegmentationNode], segment: Segment) -> Row:
    """The row of a case; segments it if `made` has no result yet, and puts the result there."""
    if not made:
        made.append(segment(each.volumes))
    node = made[0]
    volumes = volumes_of(node)
    warning = "" if any(volumes.values()) else "No structure was found."
    return done(each.case, node.GetName(), provenance_of(node), volumes, warning)


def _present(each: SceneCase, model: Model, options: RunOptions) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    """Existing segmentations of these volumes that equal the result of this run."""
    scene, first = each.volumes[0].GetScene(), each.volumes[0]
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
