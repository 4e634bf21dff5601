"""All that a batch does with one case, but for segmenting it: skip it, read its images, write its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..images.formats.image_files import write_image
from ..model.labels import Label, Region
from ..segmentation.export import write_segmentation
from ..segmentation.intensities import INTENSITIES
from ..segmentation.result import Segmentation
from ..system.atomic import together
from .agenda import Task
from .case import Case
from .case_finding import RESULT_SUFFIX, UNCERTAINTY_SUFFIX
from .case_outcome import done, settled
from .dicom_segs import SUFFIX, DicomSegs, refuse_to_lose_seg, remove_former_seg, uid_in
from .finished_case import (
    fingerprint,
    finished,
    refuse_to_lose,
    remove_former,
    sealed,
    state,
    words_of,
    written_uncertainty,
)
from .report import Row

Read = Callable[[Case], Any]
Fetch = Callable[[Case], AbstractContextManager[Case]]


@dataclass
class Results:
    """The form of a batch's results, and the functions that read images.

    Attributes:
        output: folder of the results, `<case>.seg.nrrd` and perhaps `<case>.uncertainty.nii.gz`, and of the
            report.
        recipe: of the results, see `Options.recipe_with`.
        labels, regions: of the model.
        of_sides: labels and regions of results with both sides, see `locating.segment`.
        read: read the images of a case.
        resume: skip finished cases; otherwise segment them again.
        uncertainty: a case is only finished with its uncertainty.
        intensities: a case is only finished with its intensities.
        structures: names or values of the structures that results keep; None for all.
        fetch: brings the images of a case to this machine, until the result is written; `read` gets the case
            that it yields. That case may be `left_out`.
        segs: writes a DICOM SEG beside each result; None for none.

    `read` raises the errors of a case, which become its row.
    """

    output: Path
    recipe: Mapping[str, str]
    labels: tuple[Label, ...]
    read: Read
    resume: bool = True
    regions: tuple[Region, ...] = ()
    of_sides: tuple[tuple[Label, ...], tuple[Region, ...]] = ((), ())
    uncertainty: bool = False
    intensities: bool = False
    structures: Sequence[str | int] | None = None
    fetch: Fetch = nullcontext
    segs: DicomSegs | None = None


class CaseWork:
    """A case in work. `images` comes first, in any thread, then `write`, in any thread."""

    def __init__(self, results: Results, task: Task) -> None:
        self._results = results
        self.task = task
        self._target = task.target
        self._uncertainty = self._beside(UNCERTAINTY_SUFFIX)
        self._seg = self._beside(SUFFIX)
        self._local: Case | None = None  # with its images on this machine
        self._files = ""  # fingerprint of the images, before they are read
        self._seen: object = None  # state of the result's file then
        self._former: Mapping[str, str] = {}  # provenance of the result that is replaced
        self._has_uncertainty = False  # whether that of the result is there

    def _beside(self, suffix: str) -> Path:
        return self._target.with_name(self._target.name.removesuffix(RESULT_SUFFIX) + suffix)

    def images(self) -> Any:
        """The images of the case, or the row of one that needs no run. Raises the errors of the case."""
        results, case = self._results, self.task.case
        self._seen = state(self._target)
        self._former = words_of(self._target)
        self._remove_former(self._former)  # if a batch was killed before it did so
        row = self._finished(again=not results.resume)
        if row is not None:
            return row
        if results.uncertainty:
            refuse_to_lose(self._uncertainty, self._target)
        if results.segs:
            refuse_to_lose_seg(self._seg, self._former)
        self._files = fingerprint(case)
        self._local = self.task.held.enter_context(results.fetch(case))
        row = settled(self._local)
        if row is None and results.segs:
            results.segs.check(self._local)
        return row or results.read(self._local)

    def write(self, segmentation: Segmentation) -> Row:
        """Write the result and return its row. Raises the errors of the case."""
        results = self._results
        if state(self._target) != self._seen:  # another process or a user wrote it meanwhile
            row = self._finished(again=False)
            if row is not None:
                return row
        if results.structures is not None:
            segmentation = segmentation.only(results.structures)
            wished = {"structures": results.recipe["structures"]}  # of the model, on both sides
            segmentation = replace(segmentation, provenance={**segmentation.provenance, **wished})
        result = sealed(segmentation, self.task.case, self._files, self._former)
        if results.segs:
            result = results.segs.named(result)
        with together():  # the result first: the next run of a batch killed in between makes the others
            write_segmentation(self._target, result)
            if result.uncertainty is not None:
                write_image(self._uncertainty, result.uncertainty, result.geometry)
            if results.segs and self._local:
                results.segs.write(self._seg, result, self._local)
        self._remove_former(result.provenance)
        self._has_uncertainty = result.uncertainty is not None
        return self._done(result)

    def _remove_former(self, words: Mapping[str, str]) -> None:
        """Remove the files of the result that the one with this provenance has replaced."""
        remove_former(self._uncertainty, words)
        remove_former_seg(self._seg, words)

    def _finished(self, again: bool) -> Row | None:
        """The row of a case whose result is there; None for one to segment. Raises as `finished` does."""
        results = self._results
        found = finished(
            self._target,
            self.task.case,
            results.recipe,
            results.labels,
            results.regions,
            of_sides=results.of_sides,
            again=again,
        )
        self._has_uncertainty = written_uncertainty(self._uncertainty, self._target)
        return self._done(found) if found is not None and self._is_whole(found) else None

    def _is_whole(self, found: Segmentation) -> bool:
        """Whether a finished result has all that the batch is to give."""
        results = self._results
        measured = INTENSITIES in found.provenance or not results.intensities
        has_seg = not results.segs or results.segs.is_whole(self._seg, found)
        return measured and has_seg and (self._has_uncertainty or not results.uncertainty)

    def _done(self, found: Segmentation) -> Row:
        warning = "" if found.labelmap.any() else "No structure was found."
        row = done(
            self.task.case, self._relative(self._target), found.provenance, found.volumes_ml(), warning
        )
        if self._has_uncertainty:
            row = replace(row, uncertainty=self._relative(self._uncertainty))
        segs = self._results.segs
        if segs and uid_in(found.provenance):
            stored = segs.store(self._seg) if segs.store else ""
            row = replace(row, dicom_seg=self._relative(self._seg), stored=stored)
        return row

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._results.output).as_posix()
