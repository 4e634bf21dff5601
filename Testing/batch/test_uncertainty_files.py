"""`mednext segment-folder --uncertainty`: an image beside each result, made with it and kept with it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.batch.cases import add_image
from fixtures.models.bundles import tiny_bundle
from mednext import read_volume, segment
from mednext.cli import main

FAILED = 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def code_of(folder: Path, output: str, model, *options: str) -> int:
    """The exit code of a batch."""
    place = [str(folder / "in"), str(folder / output), "--model", str(model.path), "--device", "cpu"]
    return main(["segment-folder", *place, "--no-mirror", "--threads", "1", *options])


@pytest.fixture(scope="module")
def first_run(tmp_path_factory, tiny):
    """The folders `in` and `out` after a run with `--uncertainty`."""
    folder = tmp_path_factory.mktemp("first run")
    add_image(folder / "in" / "a.nii.gz")
    assert code_of(folder, "out", tiny, "--uncertainty") == 0
    return folder


@pytest.fixture
def run(tiny, tmp_path, first_run):
    """Segment a copy of the folder again; returns the exit code and the row of the case."""
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)

    def run_it(*options, output="out"):
        code = code_of(tmp_path, output, tiny, *options)
        with (tmp_path / output / "report.csv").open(encoding="utf-8-sig", newline="") as file:
            (row,) = csv.DictReader(file)
        return code, row

    return run_it


@pytest.fixture
def result(tmp_path):
    return tmp_path / "out" / "a.seg.nrrd"


@pytest.fixture
def uncertainty(tmp_path):
    return tmp_path / "out" / "a.uncertainty.nii.gz"


def times(*files: Path) -> list[int]:
    return [file.stat().st_mtime_ns for file in files]


def test_it_lies_beside_the_result_and_in_the_report(run, tiny, result, uncertainty, tmp_path):
    before = times(result, uncertainty)
    code, row = run("--uncertainty")
    assert (code, row["output"], row["uncertainty"]) == (0, result.name, uncertainty.name)
    assert run()[1]["uncertainty"] == uncertainty.name
    assert times(result, uncertainty) == before  # a case that has both is finished
    volume = read_volume(tmp_path / "in" / "a.nii.gz")
    expected = segment(volume, tiny, device="cpu", mirroring=False, uncertainty=True)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(uncertainty))), expected.uncertainty
    )


def test_a_batch_killed_between_a_new_result_and_its_uncertainty_is_resumed(run, uncertainty, tmp_path):
    former = uncertainty.read_bytes()
    add_image(tmp_path / "in" / "a.nii.gz", seed=5)
    run("--uncertainty")
    new = uncertainty.read_bytes()
    uncertainty.write_bytes(former)  # as the files lie after a kill between both renames
    assert run("--uncertainty")[0] == 0
    np.testing.assert_array_equal(*(_voxels(data, uncertainty) for data in (new, uncertainty.read_bytes())))


def _voxels(data: bytes, place: Path) -> np.ndarray:
    place.write_bytes(data)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(place)))


def test_a_result_that_is_made_again_without_it_leaves_no_former_one(run, uncertainty):
    former = uncertainty.read_bytes()
    assert run("--no-resume")[1]["uncertainty"] == ""
    assert not uncertainty.exists()
    uncertainty.write_bytes(former)  # as the files lie after a kill between writing and removing
    assert run()[1]["uncertainty"] == ""
    assert not uncertainty.exists()
    assert run("--uncertainty")[0] == 0
    assert uncertainty.exists()


def test_a_case_whose_uncertainty_was_lost_is_segmented_again(run, uncertainty):
    uncertainty.unlink()
    assert run("--uncertainty")[0] == 0
    assert uncertainty.exists()


def test_a_file_that_is_none_of_ours_stays(run, result, uncertainty):
    result.unlink()
    uncertainty.write_bytes(b"mine")
    code, row = run("--uncertainty")
    assert (code, row["error"]) == (FAILED, "OutputError")
    assert "a.uncertainty.nii.gz is there already" in row["message"]
    assert uncertainty.read_bytes() == b"mine" and not result.exists()
    assert run()[0] == 0
    assert uncertainty.read_bytes() == b"mine"


def test_a_changed_one_stays(run, uncertainty):
    image = sitk.ReadImage(str(uncertainty))
    sitk.WriteImage(image * 0.5, str(uncertainty))
    changed = uncertainty.read_bytes()
    assert run("--uncertainty")[1]["error"] == "OutputError"
    assert uncertainty.read_bytes() == changed


def test_it_is_no_image_of_the_next_run(run):
    run("--uncertainty", output="in")
    assert run("--uncertainty", output="in")[0] == 0  # and one case, as `run` checks
