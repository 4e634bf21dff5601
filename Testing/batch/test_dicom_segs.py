"""`mednext segment-folder --dicom-seg`: a DICOM SEG beside each result, which belongs to it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fixtures.batch.cases import add_image, noise
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from mednext.batch import case_work
from mednext.cli import main
from mednext.images.geometry import Geometry
from mednext.model.description import Channel
from mednext.segmentation.formats.seg_nrrd import read_provenance

GRID = Geometry((22, 20, 18), (1.0, 1.0, 1.0), (-10.0, -12.0, 5.0))
DONE, FAILED = 0, 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    channels = (Channel("CT", "CT", "zscore"),)
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", channels=channels, mirror_axes=())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def code_of(folder: Path, model: Any, *options: str) -> int:
    """The exit code of a batch."""
    fixed = ["--model", str(model.path), "--device", "cpu", "--threads", "1"]
    return main(["segment-folder", str(folder / "in"), str(folder / "out"), *fixed, *options])


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """The folders `in` and `out` after a run with `--dicom-seg`."""
    folder = tmp_path_factory.mktemp("first run")
    write_series(folder / "in" / "study", noise(1), GRID)
    assert code_of(folder, tiny, "--dicom-seg") == DONE
    return folder


@pytest.fixture
def run(tiny: Any, tmp_path: Path, first_run: Path) -> Any:
    """Segment a copy of the folder again; returns the exit code."""
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    return lambda *options: code_of(tmp_path, tiny, *options)


def row(out: Path, case: str = "study") -> dict[str, str]:
    with (out / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return {each["case"]: each for each in csv.DictReader(file)}[case]


def test_the_dicom_seg_holds_the_labels_of_the_result_and_refers_to_its_series(
    run: Any, out: Path, tmp_path: Path
) -> None:
    assert row(out)["dicom_seg"] == "study.dcm"
    seg = highdicom.seg.segread(out / "study.dcm")
    first = pydicom.dcmread(next((tmp_path / "in" / "study").iterdir()))
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "study.seg.nrrd")))
    for number, value in zip(seg.segment_numbers, (1, 2), strict=True):
        frames = [n for n, _ in enumerate(seg.pixel_array) if _segment(seg, n) == number]
        assert np.count_nonzero(seg.pixel_array[frames]) == np.count_nonzero(labels == value)


def _segment(seg: Any, frame: int) -> int:
    group = seg.PerFrameFunctionalGroupsSequence[frame]
    return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def test_a_finished_case_needs_its_dicom_seg_too(run: Any, out: Path) -> None:
    written = (out / "study.dcm").stat().st_mtime_ns
    assert run("--dicom-seg") == DONE
    assert (out / "study.dcm").stat().st_mtime_ns == written
    (out / "study.dcm").unlink()
    assert run("--dicom-seg") == DONE
    assert (out / "study.dcm").exists()


def test_a_dicom_seg_of_somebody_else_is_not_lost(run: Any, out: Path) -> None:
    corrected = pydicom.dcmread(out / "study.dcm")
    corrected.SOPInstanceUID = corrected.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    corrected.save_as(out / "study.dcm")
    saved = (out / "study.dcm").read_bytes()
    for options in (["--dicom-seg"], ["--dicom-seg", "--no-resume"]):
        assert run(*options) == FAILED
        assert "study.dcm is there already" in row(out)["message"]
        assert (out / "study.dcm").read_bytes() == saved


def test_an_image_that_is_no_dicom_is_refused_before_it_is_segmented(
    run: Any, out: Path, tmp_path: Path
) -> None:
    add_image(tmp_path / "in" / "a.nii.gz")
    assert run("--dicom-seg") == FAILED
    assert row(out, "a")["error"] == "UnsupportedImageError"
    assert "is no DICOM series" in row(out, "a")["message"]
    assert not (out / "a.seg.nrrd").exists() and row(out)["status"] == "done"


def test_the_dicom_seg_of_a_former_result_does_not_stay(run: Any, out: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "in" / "study").iterdir():
        file.unlink()
    write_series(tmp_path / "in" / "study", noise(2), GRID)
    former = (out / "study.dcm").read_bytes()
    assert run("--no-resume") == DONE
    assert not (out / "study.dcm").exists()
    (out / "study.dcm").write_bytes(former)  # as the files lie after a kill between writing and removing
    assert run() == DONE
    assert not (out / "study.dcm").exists()


def test_a_batch_killed_between_a_new_result_and_its_dicom_seg_is_resumed(run: Any, out: Path) -> None:
    former = (out / "study.dcm").read_bytes()
    run("--dicom-seg", "--no-resume")
    (out / "study.dcm").write_bytes(former)  # as the files lie after a kill between both renames
    assert run("--dicom-seg") == DONE
    seg = pydicom.dcmread(out / "study.dcm", stop_before_pixels=True)
    assert read_provenance(out / "study.seg.nrrd")["dicom_seg_uid"] == seg.SOPInstanceUID


def test_a_file_that_is_no_dicom_is_not_lost(run: Any, out: Path) -> None:
    (out / "study.seg.nrrd").unlink()
    (out / "study.dcm").write_text("notes")
    assert run("--dicom-seg") == FAILED
    assert (out / "study.dcm").read_text() == "notes"


def test_a_failure_of_one_file_keeps_the_former_result_and_its_dicom_seg(
    run: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "report.csv"}

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(case_work, "write_segmentation", fail)
    assert run("--dicom-seg", "--no-resume") == FAILED
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "report.csv"} == before
