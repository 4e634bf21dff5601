"""Segment many cases, one after the other: a bad case does not stop the rest, and finished cases are skipped.

While one case is segmented, a thread reads the next one and another thread writes the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import OutOfMemoryError, OutputError
from ..images.formats.image_files import write_image
from ..inference.options import Options
from ..model.description import Model
from ..model.labels import Label, Region, choose_structures
from ..model.sides import sided_labels, sided_regions, sided_structures
from ..segmentation.export import write_segmentation
from ..segmentation.intensities import INTENSITIES
from ..segmentation.result import Segmentation
from ..system.atomic import explaining, together
from ..system.cancellation import POLL_S, check_cancelled
from .agenda import Agenda, Task, remove_left_in
from .case import Case
from .case_finding import RESULT_SUFFIX, UNCERTAINTY_SUFFIX
from .case_outcome import done, outcome, settled, with_model
from .dicom_segs import SUFFIX, DicomSegs, refuse_to_lose_seg, remove_former, uid_in
from .finished_case import fingerprint, finished, refuse_to_lose, sealed, state, words_of, written_uncertainty
from .report import REPORT_FILE, Report, Row

Read = Callable[[Case], Any]
Fetch = Callable[[Case], AbstractContextManager[Case]]
Alive = Callable[[], None]
CarryOut = Callable[[Case, Any, Alive], Segmentation]
Told = Callable[[int, int, Row], None]


def nothing() -> None:
    """Wait until a call of `read` ends by itself."""


@dataclass
class Batch:
    """The settings and functions that all cases share.

    Attributes:
        output: folder of the results, `<case>.seg.nrrd` and perhaps `<case>.uncertainty.nii.gz`, and of the
            report.
        recipe: of the results, see `Options.recipe_with`.
        labels, regions: of the model.
        of_sides: labels and regions of results with both sides, see `locating.segment`.
        read: read the images of a case for `carry_out`; called in a thread of its own, for the next case
            while `carry_out` works on one.
        carry_out: segment the images of a case; it calls its last argument now and then, which reports a case
            written meanwhile.
        resume: skip finished cases; otherwise segment them again.
        told: called after each case with the number of cases done, that of all cases, and the case's row.
        cancelled: asked between the cases; True ends the batch.
        stop_reading: end a call of `read` in another thread whose images are no longer needed.
        uncertainty: a case is only finished with its uncertainty.
        intensities: a case is only finished with its intensities.
        structures: names or values of the structures that results keep; None for all.
        fetch: brings the images of a case to this machine, until the result is written; called in the thread
            of `read`, which gets the case that it yields. That case may be `left_out`.
        segs: writes a DICOM SEG beside each result; None for none.

    `read` and `carry_out` raise the errors of a case, which become its row.
    """

    output: Path
    recipe: Mapping[str, str]
    labels: tuple[Label, ...]
    read: Read
    carry_out: CarryOut
    resume: bool = True
    told: Told | None = None
    cancelled: Callable[[], bool] | None = None
    regions: tuple[Region, ...] = ()
    of_sides: tuple[tuple[Label, ...], tuple[Region, ...]] = ((), ())
    stop_reading: Callable[[], None] = nothing
    uncertainty: bool = False
    intensities: bool = False
    structures: Sequence[str | int] | None = None
    fetch: Fetch = nullcontext
    segs: DicomSegs | None = None

    @classmethod
    def of(
        cls,
        output: Path,
        model: Model,
        options: Options,
        read: Read,
        carry_out: CarryOut,
        *,
        structures: Sequence[str | int] | None = None,
        **rest: Any,
    ) -> Batch:
        """The batch of a model with these options. Raises the errors of `choose_labels`."""
        labels, regions = choose_structures(model.labels, structures, model.regions)
        of_sides = sided_labels(model.labels), sided_regions(model.regions, model.labels)
        if structures is not None:
            of_sides = choose_structures(of_sides[0], sided_structures(structures, *of_sides), of_sides[1])
        return cls(
            output,
            options.recipe_with(model, structures),
            labels,
            read,
            carry_out,
            regions=regions,
            of_sides=of_sides,
            uncertainty=options.uncertainty,
            intensities=options.intensities,
            structures=structures,
            **rest,
        )

    def run(self, cases: Sequence[Case]) -> list[Row]:
        """Segment all cases; return the row of each, in their order.

        Raises:
            Cancelled: `cancelled` answered True; finished cases stay.
            OutputError: the output folder cannot be written.
            MedNeXtError: an error of every case: a broken model, a full disk, a missing package.
        """
        ledger = Ledger.begin(self.output, self.recipe, len(cases), self.told)
        agenda = Agenda(cases, self.output, self.cancelled)
        try:
            self.work(agenda, ledger)
        finally:
            agenda.close()
        return ledger.all_rows()

    def work(self, source: Source, ledger: Records) -> None:
        """Segment the cases that `source` gives, until it has no more. Raises as `run` does."""
        course = _Course(self, source, ledger)
        try:
            course.run()
        finally:
            course.close()


class Source(Protocol):
    """Gives cases to do; an `Agenda` or another process."""

    def take(self, wait_for_others: bool = False) -> Task | None: ...

    def release(self, task: Task) -> None: ...


class Records(Protocol):
    """Takes the rows of cases; a `Ledger` or another process."""

    def put(self, task: Task, row: Row) -> None: ...

    def catch_up(self) -> None: ...


@dataclass
class Ledger:
    """The rows of a batch: kept, written to the report, and told."""

    report: Report
    recipe: Mapping[str, str]
    total: int
    told: Told | None
    rows: dict[int, Row] = field(default_factory=dict)

    @classmethod
    def begin(cls, output: Path, recipe: Mapping[str, str], total: int, told: Told | None) -> Ledger:
        """The ledger of a new batch, whose output folder is made and cleaned. Raises `OutputError`."""
        with explaining(output / "report"):
            if output.exists() and not output.is_dir():
                raise OutputError(f"{output} is a file: give the name of a folder for the results.")
            output.mkdir(parents=True, exist_ok=True)
            remove_left_in(output)
        return cls(Report(output / REPORT_FILE), recipe, total, told)

    def put(self, task: Task, row: Row) -> None:
        """Record the row of a case."""
        self.rows[task.number] = row = with_model(row, self.recipe)
        self.report.put(row)
        if self.told:
            self.told(len(self.rows), self.total, row)

    def catch_up(self) -> None:
        """Write the rows that the report has not written yet, if it can be written."""
        self.report.catch_up()

    def all_rows(self) -> list[Row]:
        """The rows of all cases in their order, once the report holds them. Raises `OutputError`."""
        self.report.flush()
        return [self.rows[number] for number in range(self.total)]


@dataclass(eq=False)
class _Begun:
    """A case in work; `reading` gives its images, or its row if it needs no run."""

    task: Task
    reading: Future[Any]
    local: Case | None = None  # with its images on this machine
    files: str = ""  # fingerprint of the images, before they are read
    seen: object = None  # state of the result's file then
    former: Mapping[str, str] = field(default_factory=dict)  # provenance of the result that is replaced
    has_uncertainty: bool = False  # whether that of the result is there

    @property
    def case(self) -> Case:
        return self.task.case

    @property
    def target(self) -> Path:
        return self.task.target

    @property
    def uncertainty(self) -> Path:
        """The file for the uncertainty of the result."""
        return self._beside(UNCERTAINTY_SUFFIX)

    @property
    def seg(self) -> Path:
        """The file for the DICOM SEG of the result."""
        return self._beside(SUFFIX)

    def _beside(self, suffix: str) -> Path:
        return self.target.with_name(self.target.name.removesuffix(RESULT_SUFFIX) + suffix)

    def take(self) -> Any:
        """Return the result of reading, and keep no reference to it."""
        reading, self.reading = self.reading, Future()
        return reading.result()


class _Course:
    """Lead the cases of a source through reading, segmenting and writing.

    At most one case is read ahead, and at most one is being written: that bounds the memory. All but reading
    and writing happens in the calling thread.
    """

    def __init__(self, batch: Batch, source: Source, records: Records) -> None:
        self._batch = batch
        self._source = source
        self._records = records
        self._reader = ThreadPoolExecutor(1, "mednext-reader")
        self._writer = ThreadPoolExecutor(1, "mednext-writer")
        self._ahead: _Begun | None = None
        self._writing: tuple[_Begun, Future[Row]] | None = None

    def run(self) -> None:
        """Finish all cases."""
        while begun := self._next():
            self._wait_for_images(begun)
            self._read_ahead()
            self._segment(begun)

    def close(self) -> None:
        """End the reading, and wait for the writing."""
        self._batch.stop_reading()
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()
        if self._writing and self._writing[1].exception() is None:
            begun, writing = self._writing
            self._records.put(begun.task, writing.result())

    def _next(self) -> _Begun | None:
        self._read_ahead()
        if self._ahead is None:
            self._end_writing()
            self._records.catch_up()
            self._ahead = self._begin(self._source.take(wait_for_others=True))
        begun, self._ahead = self._ahead, None
        return begun

    def _read_ahead(self) -> None:
        """Begin to read a case if none is being read, and one is free."""
        if self._ahead is None:
            self._ahead = self._begin(self._source.take())

    def _begin(self, task: Task | None) -> _Begun | None:
        """Begin to read the images of a case."""
        if task is None:
            return None
        begun = _Begun(task, Future())
        if task.row is not None:
            begun.reading.set_result(task.row)
        else:
            begun.reading = self._reader.submit(self._read, begun)
        return begun

    def _wait_for_images(self, begun: _Begun) -> None:
        self._wait(begun.reading)
        if isinstance(begun.reading.exception(), MemoryError | OutOfMemoryError):
            begun.reading = self._reader.submit(self._read, begun)  # the case before has freed its memory
            self._wait(begun.reading)

    def _wait(self, future: Future[Any]) -> None:
        while not future.done():
            check_cancelled(self._batch.cancelled)
            wait([future], POLL_S)  # not without end: Windows would ignore Ctrl+C

    def _read(self, begun: _Begun) -> Any:
        """The row of a case that is finished already, else its images. Runs in the reader's thread."""
        batch = self._batch
        begun.seen = state(begun.target)
        row = self._finished(begun, again=not batch.resume)
        if row is not None:
            return row
        if batch.uncertainty:
            refuse_to_lose(begun.uncertainty, begun.target)
        begun.former = words_of(begun.target)
        if batch.segs:
            refuse_to_lose_seg(begun.seg, begun.former)
        begun.files = fingerprint(begun.case)
        begun.local = begun.task.held.enter_context(batch.fetch(begun.case))
        row = settled(begun.local)
        if row is None and batch.segs:
            batch.segs.check(begun.local)
        return row or batch.read(begun.local)

    def _finished(self, begun: _Begun, again: bool) -> Row | None:
        """The row of a case whose result is there; None for one to segment. Raises as `finished` does."""
        batch = self._batch
        found = finished(
            begun.target,
            begun.case,
            batch.recipe,
            batch.labels,
            batch.regions,
            of_sides=batch.of_sides,
            again=again,
        )
        begun.has_uncertainty = written_uncertainty(begun.uncertainty, begun.target)
        if found is not None and self._is_whole(begun, found):
            return self._done(begun, found)
        return None

    def _is_whole(self, begun: _Begun, found: Segmentation) -> bool:
        """Whether a finished result has all that the batch is to give."""
        batch = self._batch
        measured = INTENSITIES in found.provenance or not batch.intensities
        has_seg = not batch.segs or batch.segs.is_whole(begun.seg, found)
        return measured and has_seg and (begun.has_uncertainty or not batch.uncertainty)

    def _segment(self, begun: _Begun) -> None:
        """Segment a case that was read, and start to write it."""

        def work() -> Row | Segmentation:
            read = begun.take()
            return read if isinstance(read, Row) else self._batch.carry_out(begun.case, read, self._alive)

        made = outcome(begun.case, work)
        self._end_writing()
        if isinstance(made, Segmentation):
            self._writing = begun, self._writer.submit(self._write, begun, made)
        else:
            self._source.release(begun.task)
            self._records.put(begun.task, made)

    def _write(self, begun: _Begun, segmentation: Segmentation) -> Row:
        """Write a result and return its row. Runs in the writer's thread."""
        try:
            if state(begun.target) != begun.seen:  # another process or a user wrote it meanwhile
                row = self._finished(begun, again=False)
                if row is not None:
                    return row
            if self._batch.structures is not None:
                segmentation = segmentation.only(self._batch.structures)
                wished = {"structures": self._batch.recipe["structures"]}  # of the model, on both sides
                segmentation = replace(segmentation, provenance={**segmentation.provenance, **wished})
            result = sealed(segmentation, begun.case, begun.files, begun.former)
            segs = self._batch.segs
            if segs:
                result = segs.named(result, uid_in(begun.former))
            with together():  # the result first: the next run of a batch killed in between makes the others
                write_segmentation(begun.target, result)
                if result.uncertainty is not None:
                    write_image(begun.uncertainty, result.uncertainty, result.geometry)
                if segs and begun.local:
                    segs.write(begun.seg, result, begun.local)
            if begun.has_uncertainty and result.uncertainty is None:
                begun.uncertainty.unlink()  # it belonged to the former result
            if not uid_in(result.provenance):
                remove_former(begun.seg, uid_in(begun.former))
            begun.has_uncertainty = result.uncertainty is not None
            return self._done(begun, result)
        finally:
            self._source.release(begun.task)

    def _alive(self) -> None:
        """Report a case that has been written meanwhile, and read ahead a case that has become free."""
        if self._writing and self._writing[1].done():
            self._end_writing()
        self._read_ahead()

    def _end_writing(self) -> None:
        if self._writing:
            begun, writing = self._writing
            self._wait(writing)
            self._writing = None
            self._records.put(begun.task, outcome(begun.case, writing.result))

    def _done(self, begun: _Begun, segmentation: Segmentation) -> Row:
        warning = "" if segmentation.labelmap.any() else "No structure was found."
        row = done(
            begun.case,
            self._relative(begun.target),
            segmentation.provenance,
            segmentation.volumes_ml(),
            warning,
        )
        if begun.has_uncertainty:
            row = replace(row, uncertainty=self._relative(begun.uncertainty))
        segs = self._batch.segs
        if segs and uid_in(segmentation.provenance):
            stored = segs.store(begun.seg) if segs.store else ""
            row = replace(row, dicom_seg=self._relative(begun.seg), stored=stored)
        return row

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._batch.output).as_posix()
