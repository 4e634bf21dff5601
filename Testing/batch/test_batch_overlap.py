"""A batch reads the next case and writes the last one while it segments; errors stay with their case.

Events determine the order, never time; a test that would hang fails at `PATIENCE_S`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mednext.batch import case_work as module
from mednext.batch import report as report_module
from mednext.batch.case import Case
from mednext.batch.finished_case import fingerprint, sealed
from mednext.batch.report import Report, Row
from mednext.batch.run import Alive, Batch
from mednext.errors import Cancelled, DiskSpaceError, MedNeXtError, OutputError, UnreadableImageError
from mednext.images.formats.nrrd_header import nrrd_header
from mednext.images.formats.stored_voxels import read_voxels
from mednext.images.geometry import Geometry
from mednext.model.labels import Label
from mednext.segmentation.export import write_segmentation
from mednext.segmentation.result import Segmentation

PATIENCE_S = 60
RECIPE = {"model": "some", "model_version": "1", "model_sha256": "0" * 64}
LABELS = (Label(1, "spleen", (157, 108, 162)),)
CASES = [Case(name, (name,), (), name) for name in "abcd"]


class Events(dict[str, threading.Event]):
    """Events that are made when they are first named."""

    def __missing__(self, name: str) -> threading.Event:
        return self.setdefault(name, threading.Event())

    def after(self, name: str) -> None:
        """Wait for an event."""
        assert self[name].wait(PATIENCE_S), f"{name} did not happen"


@pytest.fixture
def events() -> Events:
    return Events()


def result_of(number: float) -> Segmentation:
    """A segmentation that can be told from those of other numbers."""
    labelmap = np.zeros((4, 5, 6), np.uint8)
    labelmap.flat[: int(number)] = 1
    return Segmentation(labelmap, Geometry((6, 5, 4), (1.0, 1.0, 1.0)), LABELS, dict(RECIPE))


def read(case: Case) -> int:
    """The images of a case: a number."""
    return "abcd".index(case.name) + 1


def carry_out(_case: Case, images: int, _alive: Alive) -> Segmentation:
    return result_of(images)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Batch]:
    """A batch in `tmp_path` that reads and segments in no time."""

    def make(**changes: Any) -> Batch:
        return Batch(tmp_path, RECIPE, LABELS, **{"read": read, "carry_out": carry_out, **changes})

    return make


def statuses(rows: list[Row]) -> dict[str, str]:
    return {row.case: row.error or row.status for row in rows}


def left_behind(folder: Path) -> list[str]:
    """Locks and unfinished files."""
    return [path.name for path in folder.rglob(".*")]


def slow_writes(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None]) -> None:
    """Do something before each writing, with the name of the case."""

    def write(path: Path, segmentation: Segmentation) -> None:
        before(path.name.removesuffix(".seg.nrrd"))
        write_segmentation(path, segmentation)

    monkeypatch.setattr(module, "write_segmentation", write)


def test_every_case_gets_the_result_of_its_own_images(make: Callable[..., Batch]) -> None:
    rows = make().run(CASES)
    assert [(row.case, row.volumes_ml["spleen"]) for row in rows] == [
        (name, pytest.approx(0.001 * number)) for number, name in enumerate("abcd", start=1)
    ]


def test_the_next_case_is_read_while_one_is_segmented(make: Callable[..., Batch], events: Events) -> None:
    def slow_read(case: Case) -> int:
        events[f"reading {case.name}"].set()
        if case.name != "a":
            events.after(f"segmented {chr(ord(case.name) - 1)}")
        return read(case)

    def segment(case: Case, images: int, _alive: Alive) -> Segmentation:
        if case.name != "d":
            events.after(f"reading {chr(ord(case.name) + 1)}")
        events[f"segmented {case.name}"].set()
        return result_of(images)

    assert set(statuses(make(read=slow_read, carry_out=segment).run(CASES)).values()) == {"done"}


def test_the_last_case_is_written_while_the_next_is_segmented(
    make: Callable[..., Batch], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def segment(case: Case, images: int, _alive: Alive) -> Segmentation:
        if case.name != "a":
            events.after(f"writing {chr(ord(case.name) - 1)}")
        events[f"segmenting {case.name}"].set()
        return result_of(images)

    def before_writing(name: str) -> None:
        events[f"writing {name}"].set()
        if name != "d":
            events.after(f"segmenting {chr(ord(name) + 1)}")

    slow_writes(monkeypatch, before_writing)
    assert set(statuses(make(carry_out=segment).run(CASES)).values()) == {"done"}


def test_no_more_than_one_case_is_read_ahead(make: Callable[..., Batch], events: Events) -> None:
    reads: list[str] = []
    ahead: list[int] = []

    def noted(case: Case) -> int:
        reads.append(case.name)
        events[f"read {case.name}"].set()
        return read(case)

    def segment(case: Case, images: int, _alive: Alive) -> Segmentation:
        if case.name != "d":
            events.after(f"read {chr(ord(case.name) + 1)}")
        ahead.append(len(reads) - images)
        return result_of(images)

    make(read=noted, carry_out=segment).run(CASES)
    assert ahead == [1, 1, 1, 0]


def test_a_written_case_is_reported_while_the_next_is_segmented(make: Callable[..., Batch]) -> None:
    told: list[str] = []
    pause = threading.Event()

    def segment(case: Case, images: int, alive: Alive) -> Segmentation:
        for _ in range(PATIENCE_S * 100):
            alive()
            if len(told) == images - 1:
                return result_of(images)
            pause.wait(0.01)
        raise AssertionError("the case before was not reported")

    make(carry_out=segment, told=lambda *said: told.append(said[2].case)).run(CASES)
    assert told == list("abcd")


def test_an_image_that_is_replaced_while_it_is_segmented_is_segmented_again(
    make: Callable[..., Batch], tmp_path: Path
) -> None:
    image, runs = tmp_path / "a.nii", []
    case = Case("a", (), (image,), "a.nii")

    def replace_image(_case: Case, _images: int, _alive: Alive) -> Segmentation:
        runs.append(image.write_bytes(b"other image"))
        return result_of(1)

    image.write_bytes(b"first image")
    for _ in range(3):
        make(carry_out=replace_image).run([case])
    assert len(runs) == 2  # the third finds the result of the second, whose image is still the same


def test_a_correction_made_while_the_case_is_segmented_again_is_not_lost(
    make: Callable[..., Batch], tmp_path: Path
) -> None:
    """As when a computer sleeps through the batch of another one, and wakes up with its own result."""

    def correct(_case: Case, _images: int, _alive: Alive) -> Segmentation:
        write_segmentation(tmp_path / "a.seg.nrrd", result_of(99))  # without a seal
        return result_of(1)

    rows = make(carry_out=correct).run(CASES[:1])
    assert statuses(rows) == {"a": "OutputError"}
    assert nrrd_voxels(tmp_path / "a.seg.nrrd") == 99


def test_a_result_that_another_batch_wrote_meanwhile_is_taken(
    make: Callable[..., Batch], tmp_path: Path
) -> None:
    def other_batch(case: Case, _images: int, _alive: Alive) -> Segmentation:
        made = replace(result_of(1), provenance={**RECIPE, "time": "of the other"})
        write_segmentation(tmp_path / "a.seg.nrrd", sealed(made, case, fingerprint(case)))
        return result_of(1)

    (row,) = make(carry_out=other_batch).run(CASES[:1])
    assert (row.status, row.time) == ("done", "of the other")


def test_a_long_report_is_not_written_after_every_case(
    make: Callable[..., Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    table = report_module.table_of

    def slow_table(rows: Iterable[Row]) -> bytes:
        writes.append(1)
        time.sleep(0.06)
        return table(rows)

    monkeypatch.setattr(report_module, "table_of", slow_table)
    rows = make().run(CASES)
    assert len(writes) < len(CASES)
    assert statuses(Report(tmp_path / "report.csv").rows()) == statuses(rows)


def nrrd_voxels(path: Path) -> int:
    """The number of labelled voxels in a written result."""
    return int(np.count_nonzero(read_voxels(nrrd_header(path).voxels)[0]))


def test_an_error_in_reading_belongs_to_its_case(make: Callable[..., Batch], tmp_path: Path) -> None:
    def broken(case: Case) -> int:
        if case.name == "b":
            raise UnreadableImageError("b is damaged.")
        return read(case)

    told: list[tuple[int, str]] = []
    rows = make(read=broken, told=lambda number, _, row: told.append((number, row.case))).run(CASES)
    assert statuses(rows) == {"a": "done", "b": "UnreadableImageError", "c": "done", "d": "done"}
    assert told == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert statuses(Report(tmp_path / "report.csv").rows()) == statuses(rows)


def test_an_image_without_memory_beside_another_case_is_read_again_alone(make: Callable[..., Batch]) -> None:
    tries: list[str] = []

    def hungry(case: Case) -> int:
        tries.append(case.name)
        if tries == ["a", "b"]:
            raise MemoryError
        return read(case)

    assert set(statuses(make(read=hungry).run(CASES)).values()) == {"done"}
    assert tries == ["a", "b", "b", "c", "d"]


def test_an_error_in_writing_belongs_to_its_case(
    make: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(name: str) -> None:
        if name == "b":
            raise OutputError("b cannot be written.")

    slow_writes(monkeypatch, refuse)
    rows = make().run(CASES)
    assert statuses(rows) == {"a": "done", "b": "OutputError", "c": "done", "d": "done"}
    assert not left_behind(tmp_path)


def test_a_full_disk_ends_the_batch(
    make: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(name: str) -> None:
        if name == "b":
            raise DiskSpaceError("The disk is full.")

    slow_writes(monkeypatch, refuse)
    with pytest.raises(DiskSpaceError):
        make().run(CASES)
    assert statuses(Report(tmp_path / "report.csv").rows()) == {"a": "done"}
    assert not left_behind(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on file sizes there")
def test_a_disk_that_is_full_from_the_beginning_leaves_nothing_that_holds_up_the_next_batch(
    make: Callable[..., Batch], tmp_path: Path
) -> None:
    import resource

    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, former[1]))  # a file can be made, but not written
    try:
        with pytest.raises(DiskSpaceError):
            make().run(CASES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert not list(tmp_path.iterdir())
    assert set(statuses(make().run(CASES)).values()) == {"done"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled])
def test_a_cancelled_batch_only_finishes_writing_the_current_case(
    error: type[BaseException],
    make: Callable[..., Batch],
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def segment(case: Case, images: int, _alive: Alive) -> Segmentation:
        if case.name == "b":
            events.after("writing a")
            events["interrupted"].set()
            raise error("stop")
        return result_of(images)

    def before_writing(name: str) -> None:
        events[f"writing {name}"].set()
        events.after("interrupted")

    slow_writes(monkeypatch, before_writing)
    with pytest.raises(error):
        make(carry_out=segment).run(CASES)
    assert statuses(Report(tmp_path / "report.csv").rows()) == {"a": "done"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.seg.nrrd", "report.csv"}

    again: list[str] = []

    def noted(case: Case) -> int:
        again.append(case.name)
        return read(case)

    assert set(statuses(make(read=noted).run(CASES)).values()) == {"done"}
    assert again == ["b", "c", "d"]


def test_cancelling_takes_effect_while_waiting_for_a_slow_disk(
    make: Callable[..., Batch], events: Events, tmp_path: Path
) -> None:
    def stuck(case: Case) -> int:
        if case.name == "b":
            events["reading b"].set()
            events.after("cancelled")
        return read(case)

    asked: list[bool] = []

    def cancelled() -> bool:
        if events["reading b"].is_set():
            asked.append(True)
        if len(asked) > 3:
            events["cancelled"].set()
        return events["cancelled"].is_set()

    with pytest.raises(MedNeXtError, match="Cancelled"):
        make(read=stuck, cancelled=cancelled).run(CASES)
    assert not left_behind(tmp_path)
    assert not (tmp_path / "b.seg.nrrd").exists()
