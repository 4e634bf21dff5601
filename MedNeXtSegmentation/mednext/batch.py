"""Many cases, one after the other: one bad case does not stop the rest, and what is done is not done again.

Several processes, on several machines too, may work on the same output folder: each case is locked by the one
that segments it, and the others go on with the next one. What is free at the end, since its process died, is
done then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .atomic import explaining, remove_leftovers
from .batch_report import DONE, FAILED, LEFT_OUT, REPORT_FILE, Report, Row
from .cancellation import check_cancelled
from .case_finding import RESULT_SUFFIX, Case
from .errors import (
    BundleError,
    Cancelled,
    DeviceError,
    DiskSpaceError,
    MedNeXtError,
    MissingPackageError,
    OptionError,
    OutOfMemoryError,
    UnknownModelError,
)
from .export import write_segmentation
from .finished_case import finished, sealed
from .labels import Label
from .lock import locked, locked_if_free
from .segmentation import Segmentation

# What is true for every case: the rest would only fail too.
_ENDS_ALL = (
    Cancelled,
    BundleError,
    DeviceError,
    DiskSpaceError,
    MissingPackageError,
    OptionError,
    UnknownModelError,
)

Keep = Callable[[Segmentation], None]
CarryOut = Callable[[Case, Keep], None]
Told = Callable[[int, int, Row], None]

logger = logging.getLogger(__name__)


def at_once(work: Callable[[], None]) -> None:
    """Do slow work here and now; who has an event loop keeps it alive instead."""
    work()


@dataclass
class Batch:
    """What all cases have in common.

    Attributes:
        output: folder of the results, `<case>.seg.nrrd`, and of the report.
        recipe: of the results, see `recipe.recipe`.
        labels: of the model.
        carry_out: segments a case and gives the result to `keep`, in any thread; raises what is wrong.
        resume: leave finished cases as they are; else do them again.
        told: hears of each case: its number, how many there are, and what became of it.
        cancelled: asked between the cases; True ends the batch.
        aside: does slow work that needs no event loop.
    """

    output: Path
    recipe: Mapping[str, str]
    labels: tuple[Label, ...]
    carry_out: CarryOut
    resume: bool = True
    told: Told | None = None
    cancelled: Callable[[], bool] | None = None
    aside: Callable[[Callable[[], None]], None] = at_once

    def run(self, cases: Sequence[Case]) -> list[Row]:
        """Segment all cases; what became of each, in their order.

        Raises:
            Cancelled: `cancelled` answered True; what is done stays done.
            OutputError: the output folder cannot be written.
            MedNeXtError: what would be wrong with every case: a broken model, a full disk, a missing package.
        """
        with explaining(self.output / "report"):
            self.output.mkdir(parents=True, exist_ok=True)
            self.aside(lambda: remove_leftovers(self.output))
        report = Report(self.output / REPORT_FILE)
        rows: dict[int, Row] = {}
        busy = [n for n, case in enumerate(cases) if not self._one(n, cases, report, rows, wait=False)]
        for number in busy:
            self._one(number, cases, report, rows, wait=True)
        report.flush()
        return [rows[number] for number in range(len(cases))]

    def _one(
        self, number: int, cases: Sequence[Case], report: Report, rows: dict[int, Row], wait: bool
    ) -> bool:
        """Bring one case to an end; False when another process is busy with it."""
        check_cancelled(self.cancelled)
        case = cases[number]
        row = settled(case)
        if row is None:
            target = self.output / f"{case.name}{RESULT_SUFFIX}"
            lock = target.with_name(f".{target.name}.lock")
            with explaining(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                if wait:
                    with locked(lock, self.cancelled):
                        row = outcome(case, lambda: self._segmented(case, target))
                else:
                    with locked_if_free(lock) as free:
                        if not free:
                            return False
                        row = outcome(case, lambda: self._segmented(case, target))
        rows[number] = row = with_model(row, self.recipe)
        report.put(row)
        if self.told:
            self.told(len(rows), len(cases), row)
        return True

    def _segmented(self, case: Case, target: Path) -> Row:
        output = target.relative_to(self.output).as_posix()
        rows: list[Row] = []

        def keep(segmentation: Segmentation) -> None:
            result = sealed(segmentation, case)
            write_segmentation(target, result)
            rows.append(_done(case, output, result))

        def find() -> None:
            found = finished(target, case, self.recipe, self.labels, again=not self.resume)
            if found is not None:
                rows.append(_done(case, output, found))

        self.aside(find)
        if not rows:
            self.carry_out(case, keep)
        return rows[0]


def settled(case: Case) -> Row | None:
    """The row of a case that needs no run; None for one that does."""
    if case.problem:
        return _failed(case, case.problem)
    if case.left_out:
        return Row(case.name, LEFT_OUT, case.source, message=case.left_out)
    return None


def outcome(case: Case, work: Callable[[], Row]) -> Row:
    """The row that `work` makes, or that of its failure.

    Raises the errors that would be met with every case.
    """
    try:
        return work()
    except OutOfMemoryError as error:  # of this image; other devices' troubles are those of all
        return _failed(case, error)
    except _ENDS_ALL:
        raise
    except MedNeXtError as error:
        return _failed(case, error)
    except MemoryError:
        return _failed(case, OutOfMemoryError("There is not enough memory for this image."))
    except Exception as error:  # boundary: whatever one case does, the others are segmented
        logger.exception("The case %s failed.", case.name)
        return _failed(case, error)


def with_model(row: Row, recipe: Mapping[str, str]) -> Row:
    """The row with the model that was used, or would have been."""
    if row.model:
        return row
    name, version, sha256 = (recipe[key] for key in ("model", "model_version", "model_sha256"))
    return replace(row, model=name, model_version=version, model_sha256=sha256)


def _done(case: Case, output: str, segmentation: Segmentation) -> Row:
    warning = "" if segmentation.labelmap.any() else "No structure was found."
    return done(case, output, segmentation.provenance, segmentation.volumes_ml(), warning)


def done(
    case: Case, output: str, known: Mapping[str, str], volumes_ml: Mapping[str, float], warning: str = ""
) -> Row:
    """The row of a finished case; `known` is the provenance of its result."""
    return Row(
        case.name,
        DONE,
        case.source,
        output,
        model=known.get("model", ""),
        model_version=known.get("model_version", ""),
        model_sha256=known.get("model_sha256", ""),
        mednext=known.get("mednext", ""),
        device=known.get("device", ""),
        time=known.get("time", ""),
        seconds=known.get("seconds", ""),
        warning=known.get("warning", "") or warning,
        volumes_ml=dict(volumes_ml),
    )


def _failed(case: Case, error: Exception) -> Row:
    return Row(case.name, FAILED, case.source, error=type(error).__name__, message=str(error))
