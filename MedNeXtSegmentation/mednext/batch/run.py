"""Segment many cases, one after the other: a bad case does not stop the rest, and finished cases are skipped.

While one case is segmented, a thread reads the next one and another thread writes the last one.

Several processes, also on several machines, may work on the same output folder: each locks the case that it
segments, and skips those that others have locked. At the end it returns to these, in case a process died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import OutOfMemoryError, OutputError
from ..images.formats.image_files import write_image
from ..inference.options import Options
from ..model.description import Model
from ..model.labels import Label, Region, choose_structures
from ..segmentation.export import write_segmentation
from ..segmentation.result import Segmentation
from ..system.atomic import explaining, remove_leftovers, together
from ..system.cancellation import POLL_S, check_cancelled
from ..system.locks import locked, locked_if_free
from .case import Case
from .case_finding import RESULT_SUFFIX, UNCERTAINTY_SUFFIX
from .case_outcome import done, outcome, settled, with_model
from .finished_case import fingerprint, finished, refuse_to_lose, sealed, written_uncertainty
from .report import REPORT_FILE, Report, Row

Read = Callable[[Case], Any]
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
        read: read the images of a case for `carry_out`; called in a thread of its own, for the next case
            while `carry_out` works on one.
        carry_out: segment the images of a case; it calls its last argument now and then, which reports a case
            written meanwhile.
        resume: skip finished cases; otherwise segment them again.
        told: called after each case with the number of cases done, that of all cases, and the case's row.
        cancelled: asked between the cases; True ends the batch.
        stop_reading: end a call of `read` in another thread whose images are no longer needed.
        uncertainty: a case is only finished with its uncertainty.
        structures: names or values of the structures that results keep; None for all.

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
    stop_reading: Callable[[], None] = nothing
    uncertainty: bool = False
    structures: Sequence[str | int] | None = None

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
        return cls(
            output,
            options.recipe_with(model, structures),
            labels,
            read,
            carry_out,
            regions=regions,
            uncertainty=options.uncertainty,
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
        with explaining(self.output / "report"):
            if self.output.exists() and not self.output.is_dir():
                raise OutputError(f"{self.output} is a file: give the name of a folder for the results.")
            self.output.mkdir(parents=True, exist_ok=True)
            _remove_left_in(self.output)
        report = Report(self.output / REPORT_FILE)
        course = _Course(self, cases, report)
        try:
            course.run()
        finally:
            course.close()
        report.flush()
        return [course.rows[number] for number in range(len(cases))]


@dataclass(eq=False)
class _Begun:
    """A case that this process has locked; `reading` gives its images, or its row if it needs no run."""

    number: int
    case: Case
    target: Path
    reading: Future[Any]
    files: str = ""  # fingerprint of the images, before they are read
    lock: ExitStack = field(default_factory=ExitStack)
    has_uncertainty: bool = False  # whether that of the result is there

    @property
    def uncertainty(self) -> Path:
        """The file for the uncertainty of the result."""
        return self.target.with_name(self.target.name.removesuffix(RESULT_SUFFIX) + UNCERTAINTY_SUFFIX)

    def take(self) -> Any:
        """Return the result of reading, and keep no reference to it."""
        reading, self.reading = self.reading, Future()
        return reading.result()


class _Course:
    """Lead the cases of a batch through reading, segmenting and writing.

    At most one case is read ahead, and at most one is being written: that bounds the memory. All but reading
    and writing happens in the calling thread.
    """

    def __init__(self, batch: Batch, cases: Sequence[Case], report: Report) -> None:
        self.rows: dict[int, Row] = {}
        self._batch = batch
        self._cases = cases
        self._report = report
        self._reader = ThreadPoolExecutor(1, "mednext-reader")
        self._writer = ThreadPoolExecutor(1, "mednext-writer")
        self._locked: list[_Begun] = []
        self._writing: tuple[_Begun, Future[Row]] | None = None

    def run(self) -> None:
        """Finish all cases, at last those that another process had locked."""
        numbers = iter(range(len(self._cases)))
        busy: list[int] = []
        begun = self._begin_next(numbers, busy)
        while begun:
            self._wait_for_images(begun)
            following = self._begin_next(numbers, busy)
            self._segment(begun)
            begun = following
        self._end_writing()
        for number in busy:
            begun = self._begin(number, wait=True)
            assert begun
            self._wait_for_images(begun)
            self._segment(begun)
            self._end_writing()

    def close(self) -> None:
        """End the reading, wait for the writing, and free the locks."""
        self._batch.stop_reading()
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()
        if self._writing and self._writing[1].exception() is None:
            self._report.put(with_model(self._writing[1].result(), self._batch.recipe))
        for begun in self._locked:
            begun.lock.close()

    def _begin_next(self, numbers: Iterator[int], busy: list[int]) -> _Begun | None:
        for number in numbers:
            begun = self._begin(number, wait=False)
            if begun:
                return begun
            busy.append(number)
        return None

    def _begin(self, number: int, wait: bool) -> _Begun | None:
        """Lock a case and begin to read it; None when another process has locked it."""
        check_cancelled(self._batch.cancelled)
        case = self._cases[number]
        target = self._batch.output / f"{case.name}{RESULT_SUFFIX}"
        begun = _Begun(number, case, target, Future())
        row = settled(case)
        if row is not None:
            begun.reading.set_result(row)
            return begun
        locked_here = outcome(case, lambda: self._lock(begun, wait))
        if isinstance(locked_here, Row):
            begun.reading.set_result(locked_here)
            return begun
        if not locked_here:
            return None
        self._locked.append(begun)
        begun.reading = self._reader.submit(self._read, begun)
        return begun

    def _lock(self, begun: _Begun, wait: bool) -> bool:
        """Lock a case; False if another process has locked it."""
        lock = begun.target.with_name(f".{begun.target.name}.lock")
        with explaining(begun.target):
            begun.target.parent.mkdir(parents=True, exist_ok=True)
            if not wait:
                return begun.lock.enter_context(locked_if_free(lock))
            begun.lock.enter_context(locked(lock, self._batch.cancelled))
            return True

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
        batch, case = self._batch, begun.case
        found = finished(
            begun.target, case, batch.recipe, batch.labels, batch.regions, again=not batch.resume
        )
        begun.has_uncertainty = written_uncertainty(begun.uncertainty, begun.target)
        if found is not None and (begun.has_uncertainty or not batch.uncertainty):
            return self._done(begun, found)
        if batch.uncertainty:
            refuse_to_lose(begun.uncertainty, begun.target)
        begun.files = fingerprint(case)
        return batch.read(case)

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
            self._free(begun)
            self._tell(begun, made)

    def _write(self, begun: _Begun, segmentation: Segmentation) -> Row:
        """Write a result and return its row. Runs in the writer's thread."""
        try:
            if self._batch.structures is not None:
                segmentation = segmentation.only(self._batch.structures)
            result = sealed(segmentation, begun.case, begun.files)
            with together():
                if result.uncertainty is not None:
                    write_image(begun.uncertainty, result.uncertainty, result.geometry)
                write_segmentation(begun.target, result)
            if begun.has_uncertainty and result.uncertainty is None:
                begun.uncertainty.unlink()  # it belonged to the former result
            begun.has_uncertainty = result.uncertainty is not None
            return self._done(begun, result)
        finally:
            self._free(begun)

    def _alive(self) -> None:
        """Report a case that has been written meanwhile."""
        if self._writing and self._writing[1].done():
            self._end_writing()

    def _end_writing(self) -> None:
        if self._writing:
            begun, writing = self._writing
            self._wait(writing)
            self._writing = None
            self._tell(begun, outcome(begun.case, writing.result))

    def _free(self, begun: _Begun) -> None:
        begun.lock.close()
        if begun in self._locked:
            self._locked.remove(begun)

    def _tell(self, begun: _Begun, row: Row) -> None:
        self.rows[begun.number] = row = with_model(row, self._batch.recipe)
        self._report.put(row)
        if self._batch.told:
            self._batch.told(len(self.rows), len(self._cases), row)

    def _done(self, begun: _Begun, segmentation: Segmentation) -> Row:
        output = begun.target.relative_to(self._batch.output).as_posix()
        warning = "" if segmentation.labelmap.any() else "No structure was found."
        row = done(begun.case, output, segmentation.provenance, segmentation.volumes_ml(), warning)
        if begun.has_uncertainty:
            row = replace(row, uncertainty=begun.uncertainty.relative_to(self._batch.output).as_posix())
        return row


def _remove_left_in(output: Path) -> None:
    """Remove temporary files and locks of batches that were killed."""
    remove_leftovers(output)
    for name in (RESULT_SUFFIX, REPORT_FILE):
        for lock in output.rglob(f".*{name}.lock"):
            with suppress(OSError), locked_if_free(lock):  # freeing it removes it
                pass
