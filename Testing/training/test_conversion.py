"""Each challenge's own files become nnU-Net's raw layout, checked whole, and nothing half is ever left."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import challenge_trees as trees
import numpy as np
import pytest
from mednext.images.formats.image_files import read_image
from mednext.images.geometry import Geometry
from mednext_training import cli
from mednext_training.conversion import converting

FOLDERS = {
    "btcv": "Dataset017_BTCV",
    "amos22": "Dataset218_AMOS22",
    "kits19": "Dataset064_KiTS19",
    "brats21": "Dataset137_BraTS21",
    "hippocampus": "Dataset004_Hippocampus",
}
CASES = {
    "btcv": ["BTCV_0001", "BTCV_0002"],
    "amos22": ["amos_0001", "amos_0004"],
    "kits19": ["case_00000", "case_00001"],
    "brats21": ["BraTS2021_00000", "BraTS2021_00001"],
    "hippocampus": ["hippocampus_001", "hippocampus_002"],
}


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., int]:
    """Run `mednext-train convert` in a workspace of its own; the exit code."""
    return lambda *words: cli.main(["--workspace", str(tmp_path / "runs"), "convert", *map(str, words)])


def raw(tmp_path: Path, name: str) -> Path:
    return tmp_path / "runs" / "raw" / FOLDERS.get(name, name)


def cases_in(folder: Path) -> list[str]:
    return sorted(file.name.removesuffix(".nii.gz") for file in (folder / "labelsTr").iterdir())


def report(tmp_path: Path, name: str) -> dict[str, dict[str, str]]:
    with (tmp_path / "runs" / "reports" / f"{FOLDERS.get(name, name)}.csv").open(encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", list(FOLDERS))
def test_a_challenge_as_it_is_given_out_becomes_a_data_set_with_the_labels_of_its_task(
    tmp_path: Path, convert: Callable[..., int], name: str
) -> None:
    trees.WRITERS[name](tmp_path / "source", 2)
    assert convert(name, tmp_path / "source") == 0
    folder = raw(tmp_path, name)
    assert cases_in(folder) == CASES[name]
    description = json.loads((folder / "dataset.json").read_text())
    truth = trees.new_patient(name)
    assert len(description["channel_names"]) == len(truth.images)
    assert list(description["labels"].values()) == list(range(truth.labels.max() + 1))
    assert (description["numTraining"], description["task"].casefold()) == (2, name)
    assert description["licence"]
    for case in CASES[name]:
        image = read_image(folder / "imagesTr" / f"{case}_0000.nii.gz")
        assert read_image(folder / "labelsTr" / f"{case}.nii.gz").geometry.close_to(image.geometry)


def test_nnunet_reads_in_every_data_set_the_voxels_of_the_challenge(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    trees.write_kits(tmp_path / "source", 1)
    assert convert("kits19", tmp_path / "source") == 0
    phantom = trees.ct_phantom(0, 2, trees.KITS)
    folder = raw(tmp_path, "kits19")
    images, facts = SimpleITKIO().read_images([str(folder / "imagesTr" / "case_00000_0000.nii.gz")])
    assert np.array_equal(images[0], phantom.images[0])
    assert facts["sitk_stuff"]["direction"] == pytest.approx(trees.KITS)
    labels, _ = SimpleITKIO().read_seg(str(folder / "labelsTr" / "case_00000.nii.gz"))
    assert np.array_equal(labels[0], phantom.labels)


@pytest.mark.parametrize("naming", ["2020", "2021", "2023"])
def test_every_naming_of_brats_gives_the_same_channels_and_the_reference_labels(
    tmp_path: Path, convert: Callable[..., int], naming: str
) -> None:
    trees.write_brats(tmp_path / "source", 2, naming)
    assert convert("brats21", tmp_path / "source") == 0
    folder = raw(tmp_path, "brats21")
    first = cases_in(folder)[0]
    phantom = trees.glioma_phantom(0)
    for number, image in enumerate(phantom.images):
        assert np.array_equal(read_image(folder / "imagesTr" / f"{first}_{number:04d}.nii.gz").array, image)
    values = np.array([0, 2, 1, 0, 3])  # necrosis 1 and oedema 2 change places, enhancing tumour is 3
    labels = read_image(folder / "labelsTr" / f"{first}.nii.gz").array
    assert np.array_equal(labels, values[phantom.labels])


def test_a_resection_cavity_is_not_taken_for_enhancing_tumour(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    trees.write_brats(tmp_path / "source", 2, "2023")
    file = tmp_path / "source" / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-seg.nii.gz"
    labels = read_image(file)
    labels.array[2:4, 2:4, 2:4] = 4
    trees.write(file, labels.array, labels.geometry)
    assert convert("brats21", tmp_path / "source") == 2
    assert "BraTS-GLI-00001-000: It has the label 4 as BraTS 2024 does" in capsys.readouterr().out


def test_other_tumours_of_brats_are_refused(tmp_path: Path, convert: Callable[..., int]) -> None:
    trees.write_brats(tmp_path / "source", 1, "2023")
    case = tmp_path / "source" / "BraTS-GLI-00000-000"
    for file in list(case.iterdir()):
        file.rename(case / file.name.replace("GLI", "PED"))
    assert convert("brats21", tmp_path / "source") == 2
    assert "BraTS PED" in report(tmp_path, "brats21")["BraTS-PED-00000-000"]["remarks"]


def test_mr_cases_of_amos_are_taken_on_request_as_a_data_set_without_hounsfield_units(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    trees.write_amos(tmp_path / "source", 2, mr=1)
    assert convert("amos22", tmp_path / "source") == 0
    assert cases_in(raw(tmp_path, "amos22")) == CASES["amos22"]
    assert convert("amos22", tmp_path / "source", "--with-mr") == 0
    folder = raw(tmp_path, "Dataset219_AMOS22withMR")
    assert cases_in(folder) == [*CASES["amos22"], "amos_0507"]
    description = json.loads((folder / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "CT or MR"}  # nnU-Net clips images called CT
    assert "task" not in description


def test_dicom_series_with_nifti_labels_are_taken(tmp_path: Path, convert: Callable[..., int]) -> None:
    trees.write_kits(tmp_path / "source", 1, dicom=True)
    assert convert("kits19", tmp_path / "source") == 0
    image = read_image(raw(tmp_path, "kits19") / "imagesTr" / "case_00000_0000.nii.gz")
    assert np.array_equal(image.array, trees.ct_phantom(0, 2).images[0])


@pytest.mark.parametrize("kind", ["zip", "tar", "zip in a folder"])
def test_archives_are_taken_as_they_were_downloaded(
    tmp_path: Path, convert: Callable[..., int], kind: str
) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 2)
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    (tmp_path / "downloads").mkdir()
    archive = tmp_path / "downloads" / ("data.tar" if kind == "tar" else "data.zip")
    if kind == "tar":
        with tarfile.open(archive, "w") as target:
            target.add(tree / "Task04_Hippocampus", "Task04_Hippocampus")
    else:
        with zipfile.ZipFile(archive, "w") as target:
            for file in files:
                target.write(file, file.relative_to(tree))
    assert convert("hippocampus", archive.parent if kind.endswith("folder") else archive) == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]
    assert [path.name for path in (tmp_path / "runs" / "raw").iterdir()] == [FOLDERS["hippocampus"]]


def test_an_archive_beside_its_own_content_is_not_taken_twice(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 2)
    with tarfile.open(tree / "Task04_Hippocampus.tar", "w") as target:
        target.add(tree / "Task04_Hippocampus", "Task04_Hippocampus")
    assert convert("hippocampus", tree) == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]


@pytest.mark.parametrize("name", ["../outside.nii.gz", "/outside.nii.gz", "a/../../outside.nii.gz"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_leaves_its_folder_is_refused(
    tmp_path: Path, convert: Callable[..., int], kind: str, name: str
) -> None:
    archive = tmp_path / f"data.{kind}"
    (tmp_path / "file").write_bytes(b"1")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(name, b"1")
    else:
        with tarfile.open(archive, "w") as tar:
            member = tar.gettarinfo(tmp_path / "file")
            member.name = name
            with (tmp_path / "file").open("rb") as data:
                tar.addfile(member, data)
    before = set(tmp_path.rglob("outside*"))
    assert convert("hippocampus", archive) == 2
    assert set(tmp_path.rglob("outside*")) == before == set()


@pytest.mark.parametrize("cut", [0.5, 0.98])
def test_a_truncated_archive_is_an_explained_error(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture, cut: float
) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 1)
    archive = tmp_path / "data.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(tree / "Task04_Hippocampus", "Task04_Hippocampus")
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    assert convert("hippocampus", archive) == 2
    assert "download it again" in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "raw").iterdir())


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
        (_change(float("nan")), "has the label nan"),
        (_empty, "is empty"),
        (_remove("labelsTr"), "It has no labels"),
        (_remove("imagesTr"), "It has no image"),
        (_copy, "same voxels as hippocampus_001"),
        (_mirror, "the voxels of hippocampus_001, mirrored or turned"),
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


def test_nothing_of_a_former_source_stays(tmp_path: Path, convert: Callable[..., int]) -> None:
    assert convert("hippocampus", trees.write_hippocampus(tmp_path / "old", 3)) == 0
    stale = tmp_path / "runs" / "preprocessed" / FOLDERS["hippocampus"] / "splits_final.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("[]")
    new = trees.write_hippocampus(tmp_path / "new", 3)
    for part in ("imagesTr", "labelsTr"):
        (new / "Task04_Hippocampus" / part / "hippocampus_002.nii.gz").unlink()
    assert convert("hippocampus", new) == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == ["hippocampus_001", "hippocampus_003"]
    assert not list((tmp_path / "runs" / "preprocessed").iterdir())


def _of_somebody(folder: Path) -> None:
    said = json.loads((folder / "dataset.json").read_text())
    del said["content_sha256"]
    (folder / "dataset.json").write_text(json.dumps(said))


def _with_a_case(folder: Path) -> None:
    (folder / "labelsTr" / "corrected_0001.nii.gz").write_bytes(b"hours of work")


def _with_tests(folder: Path) -> None:
    (folder / "imagesTs").mkdir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_of_somebody, "was not made by 'mednext-train convert'"),
        (_with_a_case, "3 instead of 2 cases"),
        (_with_tests, "holds imagesTs"),
    ],
)
def test_folders_that_no_conversion_made_are_not_replaced(
    tmp_path: Path,
    convert: Callable[..., int],
    capsys: pytest.CaptureFixture,
    change: Callable[[Path], None],
    told: str,
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    assert convert("hippocampus", source) == 0
    change(raw(tmp_path, "hippocampus"))
    before = everything(raw(tmp_path, "hippocampus"))
    assert convert("hippocampus", source) == 2
    assert told in capsys.readouterr().err
    assert everything(raw(tmp_path, "hippocampus")) == before


def test_the_same_data_again_keep_their_plans(tmp_path: Path, convert: Callable[..., int]) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    assert convert("hippocampus", source) == 0
    planned = tmp_path / "runs" / "preprocessed" / FOLDERS["hippocampus"] / "splits_final.json"
    planned.parent.mkdir(parents=True)
    planned.write_text("[]")
    assert convert("hippocampus", source) == 0
    assert planned.is_file()


def test_weights_that_were_trained_on_other_data_are_not_mixed_with_new_data(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert convert("hippocampus", trees.write_hippocampus(tmp_path / "old", 2)) == 0
    weights = tmp_path / "runs" / "results" / FOLDERS["hippocampus"] / "run" / "checkpoint_final.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"1")
    before = everything(tmp_path / "runs")
    assert convert("hippocampus", trees.write_hippocampus(tmp_path / "new", 3)) == 2
    assert "was trained on other data" in capsys.readouterr().err
    after = everything(tmp_path / "runs")
    report_file = f"reports/{FOLDERS['hippocampus']}.csv"
    assert {**after, report_file: b""} == {**before, report_file: b""}


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_conversion_leaves_the_former_data_set_whole(
    tmp_path: Path, convert: Callable[..., int], monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 3)
    assert convert("hippocampus", source) == 0
    before = everything(tmp_path / "runs" / "raw")
    calls = []

    def write(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise failure

    monkeypatch.setattr(converting, "write_image", write)
    (source / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz").unlink()
    assert convert("hippocampus", source, "--skip-faulty") in (2, 130)
    assert everything(tmp_path / "runs" / "raw") == before
    assert [path.name for path in (tmp_path / "runs" / "raw").iterdir()] == [FOLDERS["hippocampus"]]


def test_the_next_conversion_removes_the_rest_of_a_killed_one(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    program = (
        "import os, signal, sys\n"
        "from mednext_training.conversion import converting\n"
        "converting.write_image = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from mednext_training.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = ["--workspace", str(tmp_path / "runs"), "convert", "hippocampus", str(source)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program, *command], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[0] for path in (tmp_path / "runs" / "raw").iterdir()] == ["."]
    assert convert("hippocampus", source) == 0
    assert [path.name for path in (tmp_path / "runs" / "raw").iterdir()] == [FOLDERS["hippocampus"]]


def _members(archive: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(archive, "w") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name in names:
            packed.writestr(name, b"1")
    return archive


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.nii.gz", "a.nii.gz"], "'a.nii.gz' is there twice"),
        (["a", "a/b.nii.gz"], "'a/b.nii.gz' cannot be a file here"),
        (["x" * 300 + ".nii.gz"], "cannot be a file here"),
    ],
)
def test_an_archive_whose_names_collide_is_an_explained_error(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture, names: list[str], told: str
) -> None:
    assert convert("hippocampus", _members(tmp_path / "data.zip", names)) == 2
    assert told in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "raw").iterdir())


def test_images_and_labels_may_be_two_sources(tmp_path: Path, convert: Callable[..., int]) -> None:
    task = trees.write_hippocampus(tmp_path / "source", 2) / "Task04_Hippocampus"
    for part in ("imagesTr", "labelsTr"):
        (task / part).rename(tmp_path / part)
        (task / part).mkdir()
        (tmp_path / part).rename(task / part / part)
    assert convert("hippocampus", task / "imagesTr", task / "labelsTr") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]


def test_a_source_of_which_everything_is_left_out_says_why(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    trees.write_amos(tmp_path / "source", 0, mr=2)
    assert convert("amos22", tmp_path / "source") == 2
    assert "It is an MR image: --with-mr takes them, too." in capsys.readouterr().err


def test_cases_without_any_structure_are_no_data_set(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    _empty(source)
    options = ["--leave-out", "hippocampus_001", "--allow-empty"]
    assert convert("hippocampus", source, *options) == 2
    assert "there is nothing to learn from" in capsys.readouterr().err


def test_editions_of_brats_may_be_mixed_and_each_keeps_its_label_of_the_enhancing_tumour(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    trees.write_brats(tmp_path / "source" / "2021", 1, "2021")
    trees.write_brats(tmp_path / "source" / "2023", 2, "2023")
    options = ["--leave-out", "BraTS-GLI-00000-000"]  # the same phantom as the one of 2021
    assert convert("brats21", tmp_path / "source", *options) == 0
    values = np.array([0, 2, 1, 0, 3])
    for number, case in enumerate(("BraTS2021_00000", "BraTS-GLI-00001-000")):
        labels = read_image(raw(tmp_path, "brats21") / "labelsTr" / f"{case}.nii.gz").array
        assert np.array_equal(labels, values[trees.glioma_phantom(number).labels])


def test_a_label_of_another_edition_is_refused(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    trees.write_brats(tmp_path / "source", 3, "2021")
    file = tmp_path / "source" / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz"
    labels = read_image(file)
    trees.write(file, np.where(labels.array == 4, 3, labels.array), labels.geometry)
    assert convert("brats21", tmp_path / "source") == 2
    assert "has the label 3" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(FOLDERS))
def test_a_folder_without_the_challenges_files_names_where_they_should_be(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture, name: str
) -> None:
    (tmp_path / "source").mkdir()
    assert convert(name, tmp_path / "source") == 2
    assert "has its files as" in capsys.readouterr().err


@pytest.mark.real_data
def test_all_real_hippocampus_cases_are_sound(
    tmp_path: Path, convert: Callable[..., int], real_data: Path
) -> None:
    assert convert("hippocampus", real_data / "hippocampus") == 0
    assert len(cases_in(raw(tmp_path, "hippocampus"))) == 220
