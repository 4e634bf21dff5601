"""A case with a fault is named, and no data set is made of half the cases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.training import challenge_trees as trees
from fixtures.training.converted_data import CASES, cases_in, raw, report
from mednext.images.formats.image_files import read_image
from mednext.images.geometry import Geometry


def _truncate(source: Path) -> None:
    file = source / "Task04_Hippocampus" / "imagesTr" / "hippocampus_002.nii.gz"
    file.write_bytes(file.read_bytes()[:-200])


def _shift(source: Path) -> None:
    file = source / "Task04_Hippocampus" / "labelsTr" / "hippocampus_002.nii.gz"
    labels = read_image(file)
    origin = (labels.geometry.origin[0] + 1.0, *labels.geometry.origin[1:])
    trees.write(file, labels.array, Geometry(labels.geometry.size, (1, 1, 1), origin, trees.RAS))


def _change(value: float) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        file = source / "Task04_Hippocampus" / "labelsTr" / "hippocampus_002.nii.gz"
        labels = read_image(file)
        array = labels.array.astype(np.float32)
        array[3, 3, 3] = value
        trees.write(file, array, labels.geometry)

    return change


def _empty(source: Path) -> None:
    file = source / "Task04_Hippocampus" / "labelsTr" / "hippocampus_002.nii.gz"
    labels = read_image(file)
    trees.write(file, np.zeros_like(labels.array), labels.geometry)


def _remove(part: str) -> Callable[[Path], None]:
    return lambda source: (source / "Task04_Hippocampus" / part / "hippocampus_002.nii.gz").unlink()


def _copy(source: Path) -> None:
    """The image of the first case, turned and with another type, as the second one's."""
    folder = source / "Task04_Hippocampus"
    image = read_image(folder / "imagesTr" / "hippocampus_001.nii.gz")
    flipped = image.geometry.reoriented("LPS")
    array = np.ascontiguousarray(image.array[:, ::-1, ::-1]).astype(np.float64)
    trees.write(folder / "imagesTr" / "hippocampus_002.nii.gz", array, flipped)
    labels = read_image(folder / "labelsTr" / "hippocampus_001.nii.gz")
    array = np.ascontiguousarray(labels.array[:, ::-1, ::-1])
    trees.write(folder / "labelsTr" / "hippocampus_002.nii.gz", array, flipped)


def _mirror(source: Path) -> None:
    """The image of the first case with left and right exchanged, as the second one's, stored as float."""
    for part in ("imagesTr", "labelsTr"):
        folder = source / "Task04_Hippocampus" / part
        image = read_image(folder / "hippocampus_001.nii.gz")
        array = np.ascontiguousarray(image.array[..., ::-1])
        trees.write(folder / "hippocampus_002.nii.gz", array.astype(np.float64), image.geometry)


def _nan(source: Path) -> None:
    file = source / "Task04_Hippocampus" / "imagesTr" / "hippocampus_002.nii.gz"
    image = read_image(file)
    image.array[1, 1, 1] = np.nan
    trees.write(file, image.array, image.geometry)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_truncate, "hippocampus_002.nii.gz"),
        (_shift, "differ in geometry"),
        (_change(7), "has the label 7, but the labels of this data set are 1 anterior hippocampus"),
        (_change(1.5), "has the label 1.5"),
        (_change(-1), "has the label -1"),
        (_change(0.9999999), "has the label 0.99999988"),
        (_change(float("nan")), "has the label nan"),
        (_empty, "is empty"),
        (_remove("labelsTr"), "It has no labels"),
        (_remove("imagesTr"), "It has no image"),
        (_copy, "same voxels as hippocampus_001"),
        (_nan, "NaN"),
    ],
)
def test_a_case_with_a_fault_is_named_and_nothing_is_converted(
    tmp_path: Path,
    convert: Callable[..., int],
    capsys: pytest.CaptureFixture,
    spoil: Callable[[Path], None],
    told: str,
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 3)
    spoil(source)
    assert convert("hippocampus", source) == 2
    output = capsys.readouterr()
    assert told in output.out
    assert "1 of 3 cases have problems (hippocampus_002" in output.err
    row = report(tmp_path, "hippocampus")["hippocampus_002"]
    assert row["result"] == "faulty"
    assert told in row["remarks"]
    assert not list((tmp_path / "runs" / "raw").iterdir())

    assert convert("hippocampus", source, "--skip-faulty") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == ["hippocampus_001", "hippocampus_003"]


def _exchange(source: Path) -> None:
    """The second case has the first one's image, and labels of its own."""
    folder = source / "Task04_Hippocampus" / "imagesTr"
    (folder / "hippocampus_002.nii.gz").write_bytes((folder / "hippocampus_001.nii.gz").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "told"), [(_mirror, "mirrored or turned"), (_exchange, "but other images or labels")]
)
def test_of_two_cases_that_share_an_image_none_is_taken_for_the_right_one(
    tmp_path: Path, convert: Callable[..., int], spoil: Callable[[Path], None], told: str
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 3)
    spoil(source)
    assert convert("hippocampus", source, "--skip-faulty") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == ["hippocampus_003"]
    rows = report(tmp_path, "hippocampus")
    assert all(told in rows[f"hippocampus_{number}"]["remarks"] for number in ("001", "002"))
    assert convert("hippocampus", source, "--leave-out", "hippocampus_002") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == ["hippocampus_001", "hippocampus_003"]


def test_an_empty_case_is_taken_on_request(tmp_path: Path, convert: Callable[..., int]) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    _empty(source)
    assert convert("hippocampus", source, "--allow-empty") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]


def test_cases_stored_in_another_orientation_are_turned_with_their_labels(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 3)
    task = source / "Task04_Hippocampus"
    for part in ("imagesTr", "labelsTr"):
        file = task / part / "hippocampus_003.nii.gz"
        image = read_image(file)
        trees.write(file, np.ascontiguousarray(image.array[..., ::-1]), image.geometry.reoriented("LAS"))
    assert convert("hippocampus", source) == 0
    phantom = trees.hippocampus_phantom(3)
    folder = raw(tmp_path, "hippocampus")
    image = read_image(folder / "imagesTr" / "hippocampus_003_0000.nii.gz")
    assert image.geometry.orientation == "RAS"
    assert np.array_equal(image.array, phantom.images[0])
    assert np.array_equal(read_image(folder / "labelsTr" / "hippocampus_003.nii.gz").array, phantom.labels)
    assert "stored as LAS" in report(tmp_path, "hippocampus")["hippocampus_003"]["remarks"]


def test_two_examinations_of_a_patient_are_noted(tmp_path: Path, convert: Callable[..., int]) -> None:
    source = trees.write_brats(tmp_path / "source", 2, "2023")
    first, second = (source / f"BraTS-GLI-0000{number}-000" for number in (0, 1))
    later = first.with_name("BraTS-GLI-00000-001")
    second.rename(later)
    for file in list(later.iterdir()):
        file.rename(later / file.name.replace(second.name, later.name))
    assert convert("brats21", source) == 0
    assert "same patient as BraTS-GLI-00000-000" in report(tmp_path, "brats21")[later.name]["remarks"]


def test_images_and_labels_may_be_two_sources(tmp_path: Path, convert: Callable[..., int]) -> None:
    task = trees.write_hippocampus(tmp_path / "source", 2) / "Task04_Hippocampus"
    for part in ("imagesTr", "labelsTr"):
        (task / part).rename(tmp_path / part)
        (task / part).mkdir()
        (tmp_path / part).rename(task / part / part)
    assert convert("hippocampus", task / "imagesTr", task / "labelsTr") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]


def test_cases_without_any_structure_are_no_data_set(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    _empty(source)
    options = ["--leave-out", "hippocampus_001", "--allow-empty"]
    assert convert("hippocampus", source, *options) == 2
    assert "there is nothing to learn from" in capsys.readouterr().err


def test_data_are_converted_where_torch_is_not_installed(tmp_path: Path) -> None:
    """A hospital's computer that only prepares the data needs no network."""
    source = trees.write_hippocampus(tmp_path / "source", 2)
    program = "import sys; sys.modules['torch'] = None; from mednext_training.cli import main; exit(main())"
    words = ["--workspace", str(tmp_path / "runs"), "convert", "hippocampus", str(source)]
    subprocess.run([sys.executable, "-c", program, *words], check=True)
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]
