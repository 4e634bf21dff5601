"""Segment many cases, one after the other: a bad case does not stop the rest, and finished cases are skipped.

While one case is segmented, a thread reads the next one and another thread writes the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import OutOfMemoryError, OutputError
from ..inference.options import Options
from ..model.description import Model
from ..model.labels import choose_structures
from ..model.sides import sided_labels, sided_regions, sided_structures
from ..segmentation.result import Segmentation
from ..system.atomic import explaining
from ..system.cancellation import POLL_S, check_cancelled
from .agenda import Agenda, Task, remove_left_in
from .case import Case
from .case_outcome import outcome, with_model
from .case_work import CaseWork, Read, Results
from .report import REPORT_FILE, Report, Row

Alive = Callable[[], None]
CarryOut = Callable[[Case, Any, Alive], Segmentation]
Told = Callable[[int, int, Row], None]


@dataclass(kw_only=True)
class Batch(Results):
    """A batch: the form of its results, and the functions that make them.

    Attributes:
        carry_out: segment the images of a case; it calls its last argument now and then, which reports a case
            written meanwhile. It raises the errors of a case, which become its row.
        told: called after each case with the number of cases done, that of all cases, and the case's row.
        cancelled: asked between the cases; True ends the batch.
        stop_reading: end a call of `read` in another thread whose images are no longer needed; by default the
            batch waits for its end.

    `read` and `fetch` are called in a thread of their own, for the next case while `carry_out` works on one.
    """

    carry_out: CarryOut
    told: Told | None = None
    cancelled: Callable[[], bool] | None = None
    stop_reading: Callable[[], None] = lambda: None

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
            carry_out=carry_out,
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

    work: CaseWork
    reading: Future[Any]

    @property
    def task(self) -> Task:
        return self.work.task

    def take(self) -> Any:
        """Return the result of reading, and keep no reference to it."""
        reading, self.reading = self.reading, Future()
        return reading.result()


class _Course:
    """Leads the cases of a source through reading, segmenting and writing.

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
        self._writing: tuple[Task, Future[Row]] | None = None

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
            task, writing = self._writing
            self._records.put(task, writing.result())

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
        work = CaseWork(self._batch, task)
        if task.row is None:
            return _Begun(work, self._reader.submit(work.images))
        begun = _Begun(work, Future())
        begun.reading.set_result(task.row)
        return begun

    def _wait_for_images(self, begun: _Begun) -> None:
        self._wait(begun.reading)
        if isinstance(begun.reading.exception(), MemoryError | OutOfMemoryError):
            # The case before has freed its memory.
            begun.reading = self._reader.submit(begun.work.images)
            self._wait(begun.reading)

    def _wait(self, future: Future[Any]) -> None:
        while not future.done():
            check_cancelled(self._batch.cancelled)
            wait([future], POLL_S)  # not without end: Windows would ignore Ctrl+C

    def _segment(self, begun: _Begun) -> None:
        """Segment a case that was read, and start to write it."""
        task = begun.task

        def work() -> Row | Segmentation:
            read = begun.take()
            return read if isinstance(read, Row) else self._batch.carry_out(task.case, read, self._alive)

        made = outcome(task.case, work)
        self._end_writing()
        if isinstance(made, Segmentation):
            self._writing = task, self._writer.submit(self._write, begun.work, made)
        else:
            self._source.release(task)
            self._records.put(task, made)

    def _write(self, work: CaseWork, segmentation: Segmentation) -> Row:
        """Write a result and return its row. Runs in the writer's thread."""
        try:
            return work.write(segmentation)
        finally:
            self._source.release(work.task)

    def _alive(self) -> None:
        """Report a case that has been written meanwhile, and read ahead a case that has become free."""
        if self._writing and self._writing[1].done():
            self._end_writing()
        self._read_ahead()

    def _end_writing(self) -> None:
        if self._writing:
            task, writing = self._writing
            self._wait(writing)
            self._writing = None
            self._records.put(task, outcome(task.case, writing.result))
