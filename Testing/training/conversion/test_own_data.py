"""Anybody's pairs become a data set, several become one, and nnU-Net's raw layout is taken as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from fixtures.training import challenge_trees as trees
from mednext.errors import OptionError
from mednext.images.formats.image_files import read_image
from mednext_training import cli
from mednext_training.datasets import find_dataset
from mednext_training.planning.splits import cases_of
from mednext_training.workspace import Workspace


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """Run `mednext-train` in a workspace of its own; the exit code."""
    return lambda *words: cli.main(["--workspace", str(tmp_path / "runs"), *map(str, words)])


def pairs(folder: Path, cases: int = 2, suffix: str = ".nii.gz", seed: int = 0) -> Path:
    """`images/a0.nii.gz` and `labels/a0.nii.gz`, with the labels 1 and 2."""
    for number in range(cases):
        phantom = trees.ct_phantom(seed + number, 2)
        trees.write(folder / "images" / f"a{number}{suffix}", phantom.images[0], phantom.geometry)
        trees.write(folder / "labels" / f"a{number}{suffix}", phantom.labels, phantom.geometry)
    return folder


def nnunet(folder: Path, cases: int = 2, seed: int = 0, orientation: str = "LPS") -> Path:
    """A data set in nnU-Net's raw layout."""
    for number in range(cases):
        phantom = trees.ct_phantom(seed + number, 2)
        grid = phantom.geometry
        image, labels = phantom.images[0], phantom.labels
        if orientation == "RPS" and number == 0:
            image, labels, grid = image[..., ::-1], labels[..., ::-1], grid.reoriented("RPS")
        trees.write(folder / "imagesTr" / f"b{number}_0000.nii.gz", np.ascontiguousarray(image), grid)
        trees.write(folder / "labelsTr" / f"b{number}.nii.gz", np.ascontiguousarray(labels), grid)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "kidney": 1, "kidney tumor": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


SAID = ("--channel", "CT", "--label", "1=kidney", "--label", "2=kidney tumor")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".nii"])
def test_a_folder_of_images_and_one_of_labels_become_a_data_set(
    tmp_path: Path, run: Callable[..., int], suffix: str
) -> None:
    assert run("convert", "own", pairs(tmp_path / "source", suffix=suffix), "--name", "Mine", *SAID) == 0
    folder = tmp_path / "runs" / "raw" / "Dataset501_Mine"
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "kidney": 1, "kidney tumor": 2}
    assert description["channel_names"] == {"0": "CT"}
    phantom = trees.ct_phantom(0, 2)
    assert np.array_equal(read_image(folder / "imagesTr" / "a0_0000.nii.gz").array, phantom.images[0])
    assert np.array_equal(read_image(folder / "labelsTr" / "a0.nii.gz").array, phantom.labels)


def test_a_reader_that_closes_the_output_does_not_make_a_command_look_done(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ["--workspace", tmp_path / "runs", "convert", "own", pairs(tmp_path / "mine"), *SAID]
    ended = subprocess.run(
        [sys.executable, "-m", "mednext_training.cli", *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert ended.returncode == 2
    assert "Nobody reads the output any more" in ended.stderr.splitlines()[-1]


def test_names_with_accents_find_each_other_whatever_system_wrote_them(
    tmp_path: Path, run: Callable[..., int]
) -> None:
    """A Mac writes "é" as two characters."""
    source = pairs(tmp_path / "source")
    for part, form in (("images", "NFD"), ("labels", "NFC")):
        file = source / part / "a1.nii.gz"
        file.rename(file.with_name(unicodedata.normalize(form, "André.1.nii.gz")))
    assert run("convert", "own", source, "--name", "Mine", *SAID) == 0
    assert (tmp_path / "runs/raw/Dataset501_Mine/labelsTr/André.1.nii.gz").is_file()


def test_a_task_of_the_catalog_names_images_and_labels(tmp_path: Path, run: Callable[..., int]) -> None:
    assert run("convert", "own", pairs(tmp_path / "source"), "--name", "Mine", "--task", "KiTS19") == 0
    _, dataset = find_dataset(Workspace(tmp_path / "runs"))
    assert dataset.task == "KiTS19"
    assert dataset.labels == {"kidney": 1, "kidney tumor": 2}


def gliomas(source: Path, t1: str) -> None:
    """Two patients, each in a folder, with a T1 image of this name, a FLAIR image and the tumour."""
    for number in range(2):
        phantom, folder = trees.glioma_phantom(number), source / f"patient {number}"
        trees.write(folder / f"{t1}.nii.gz", phantom.images[0], phantom.geometry)
        trees.write(folder / "flair.nii.gz", phantom.images[3], phantom.geometry)
        trees.write(folder / "tumor.nii.gz", (phantom.labels > 0).astype(np.uint8), phantom.geometry)


def test_several_channels_are_found_by_their_patterns(tmp_path: Path, run: Callable[..., int]) -> None:
    gliomas(tmp_path / "source", "t1 mprage")
    words = ["--channel", "T1={case}/t1*.nii.gz", "--channel", "FLAIR={case}/flair.nii.gz"]
    words += ["--labels", "{case}/tumor.nii.gz", "--label", "1=tumor", "--name", "Glioma"]
    assert run("convert", "own", tmp_path / "source", *words) == 0
    folder = tmp_path / "runs" / "raw" / "Dataset501_Glioma"
    phantom = trees.glioma_phantom(1)
    for number, channel in enumerate((0, 3)):
        image = read_image(folder / "imagesTr" / f"patient 1_{number:04d}.nii.gz")
        assert np.array_equal(image.array, phantom.images[channel])


@pytest.mark.parametrize(
    ("names", "code", "told"),
    [
        (("Kidney", "kidney tumor"), 0, ""),
        (("kidney tumor", "kidney"), 2, 'calls its label 1 "kidney tumor", here it is "kidney": export'),
        (("kidney", "lesion"), 0, 'calls its label 2 "lesion", here it is "kidney tumor": check'),
    ],
)
def test_the_names_in_slicers_segmentations_are_compared_with_those_of_the_data_set(
    tmp_path: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture,
    names: tuple[str, str],
    code: int,
    told: str,
) -> None:
    source = pairs(tmp_path / "source")
    for file in list((source / "labels").iterdir()):
        labels = sitk.ReadImage(str(file))
        for number, name in enumerate(names):
            labels.SetMetaData(f"Segment{number}_Name", name)
            labels.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        sitk.WriteImage(labels, str(source / "labels" / file.name.replace(".nii.gz", ".seg.nrrd")))
        file.unlink()
    assert run("convert", "own", source, "--name", "Mine", *SAID) == code
    assert told in capsys.readouterr().out


def test_labels_in_dicom_are_refused_with_the_way_out(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    folder = pairs(tmp_path / "mine")
    phantom = trees.ct_phantom(0, 2)
    (folder / "labels" / "a0.nii.gz").unlink()
    write_series(folder / "labels" / "a0", phantom.labels.astype(np.int16), phantom.geometry)
    assert run("convert", "own", folder, *SAID) == 2
    assert (
        "load it in Slicer, and save the segmentation as .seg.nrrd or its labelmap" in capsys.readouterr().out
    )


def test_images_and_labels_may_lie_in_one_folder(tmp_path: Path, run: Callable[..., int]) -> None:
    for number in range(2):
        phantom = trees.ct_phantom(number, 2)
        for name, array in (("", phantom.images[0]), ("_seg", phantom.labels)):
            trees.write(tmp_path / "source" / f"a{number}{name}.nii.gz", array, phantom.geometry)
    words = ["--channel", "CT={case}.nii.gz", "--labels", "{case}_seg.nii.gz", "--name", "Mine"]
    assert run("convert", "own", tmp_path / "source", *words, "--label", "1=a", "--label", "2=b") == 0
    written = tmp_path / "runs" / "raw" / "Dataset501_Mine" / "labelsTr"
    assert sorted(file.name for file in written.iterdir()) == ["a0.nii.gz", "a1.nii.gz"]


def test_label_values_with_gaps_become_those_that_nnunet_trains(
    tmp_path: Path, run: Callable[..., int]
) -> None:
    source = pairs(tmp_path / "source")
    for file in (source / "labels").iterdir():
        labels = read_image(file)
        trees.write(file, np.array([0, 5, 17], np.uint8)[labels.array], labels.geometry)
    words = ["--channel", "CT", "--label", "5=liver", "--label", "17=tumor", "--name", "Mine"]
    assert run("convert", "own", source, *words) == 0
    folder = tmp_path / "runs" / "raw" / "Dataset501_Mine"
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "liver": 1, "tumor": 2}
    phantom = trees.ct_phantom(0, 2)
    assert np.array_equal(read_image(folder / "labelsTr" / "a0.nii.gz").array, phantom.labels)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--label 1=liver"),
        (["--channel", "CT"], "--label 1=liver"),
        (["--channel", "A", "--channel", "B", "--label", "1=x"], "--channel T1={case}/t1.nii.gz"),
        (["--channel", "CT=img/ct.nii.gz", "--label", "1=x"], "has no {case}"),
        ([*SAID, "--number", "0"], "is 1 to 999"),
        ([*SAID, "--name", "a/b"], "no name for a data set"),
        (["--task", "heart"], "There is no task 'heart'"),
        (
            ["--channel", "CT", "--label", "1=kidney", "--name", "Mine"],
            "the labels of this data set are 1 kid",
        ),
        ([*SAID, "--leave-out", "b7"], 'There is no case "b7"'),
        ([*SAID, "--labels", "{case}.nrrd"], "It has no labels"),
        (["--task", "KiTS19", "--label", "1=liver"], "names the labels already"),
    ],
)
def test_missing_facts_are_asked_for(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture, words: list[str], told: str
) -> None:
    assert run("convert", "own", pairs(tmp_path / "source"), *words) == 2
    output = capsys.readouterr()
    assert told in output.err + output.out
    assert not list((tmp_path / "runs").glob("raw/*"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": {"background": 0, "kidney tumor": 1, "kidney": 2}}, 'label 1 "kidney tumor", the task'),
        ({"channel_names": {"0": "T1"}}, "The channel T1 of the data set is not the CT"),
    ],
)
def test_a_task_does_not_rename_what_a_data_set_calls_otherwise(
    tmp_path: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture,
    changes: dict[str, Any],
    told: str,
) -> None:
    file = nnunet(tmp_path / "Dataset501_A") / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert run("convert", "own", file.parent, "--name", "B", "--task", "KiTS19") == 2
    assert told in capsys.readouterr().err


def test_an_image_that_is_named_as_another_channel_is_noted(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    gliomas(tmp_path / "source", "t1")
    words = ["--channel", "T1={case}/flair.nii.gz", "--channel", "FLAIR={case}/t1.nii.gz"]
    words += ["--labels", "{case}/tumor.nii.gz", "--label", "1=tumor", "--name", "Glioma"]
    assert run("convert", "own", tmp_path / "source", *words) == 0
    assert '"flair.nii.gz" seems to be FLAIR, not T1: check the choice' in capsys.readouterr().out


def test_several_data_sets_of_one_kind_become_one(tmp_path: Path, run: Callable[..., int]) -> None:
    first = nnunet(tmp_path / "one" / "Dataset501_A", seed=0)
    second = nnunet(tmp_path / "two" / "Dataset502_B", seed=10)
    assert run("convert", "own", first, second, "--name", "Both", "--number", "600") == 0
    workspace, dataset = find_dataset(Workspace(tmp_path / "runs"))
    assert dataset.folder_name == "Dataset600_Both"
    cases = sorted(file.name for file in (workspace.raw / dataset.folder_name / "labelsTr").iterdir())
    assert len(cases) == 4
    assert len({name.casefold() for name in cases}) == 4


def test_raw_data_of_nnunet_v1_are_taken_channel_by_channel(tmp_path: Path, run: Callable[..., int]) -> None:
    """The reference's own layout: the Decathlon's description, with a file for each channel."""
    folder = tmp_path / "nnUNet_raw_data" / "Task501_Glioma"
    for number in range(2):
        phantom = trees.glioma_phantom(number)
        for channel in (0, 3):
            name = f"b{number}_{channel // 3:04d}.nii.gz"
            trees.write(folder / "imagesTr" / name, phantom.images[channel], phantom.geometry)
        labels = (phantom.labels > 0).astype(np.uint8)
        trees.write(folder / "labelsTr" / f"b{number}.nii.gz", labels, phantom.geometry)
    said = {
        "name": "Glioma",
        "modality": {"0": "T1", "1": "FLAIR"},
        "labels": {"0": "background", "1": "tumor"},
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    assert run("convert", "own", folder) == 0
    written = tmp_path / "runs" / "raw" / "Dataset501_Glioma"
    assert json.loads((written / "dataset.json").read_text())["channel_names"] == {"0": "T1", "1": "FLAIR"}
    image = read_image(written / "imagesTr" / "b1_0001.nii.gz")
    assert np.array_equal(image.array, trees.glioma_phantom(1).images[3])


@pytest.mark.parametrize("kind", ["in a folder", "tar", "tar.gz", "zip", "zip in a folder", "flat zip"])
def test_a_description_is_found_in_what_was_downloaded(
    tmp_path: Path, run: Callable[..., int], kind: str
) -> None:
    """`convert own Task09_Spleen.tar` needs no more words than the folder in it."""
    folder = nnunet(tmp_path / "tree" / "Dataset501_Kidneys")
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"same_patient": [["b0", "b1"]]}))
    (folder / "imagesTs").mkdir()
    shutil.copy(folder / "imagesTr" / "b0_0000.nii.gz", folder / "imagesTs" / "c0_0000.nii.gz")
    source = folder.parent if kind == "in a folder" else _packed(folder, kind)
    assert run("convert", "own", source) == 0
    [written] = (tmp_path / "runs" / "raw").iterdir()
    assert written.name == "Dataset501_Kidneys"
    said = json.loads((written / "dataset.json").read_text())
    assert said["labels"] == {"background": 0, "kidney": 1, "kidney tumor": 2}
    assert said["same_patient"] == [["b0", "b1"]]
    assert [path.name for path in sorted((written / "labelsTr").iterdir())] == ["b0.nii.gz", "b1.nii.gz"]


def _packed(folder: Path, kind: str) -> Path:
    """The archive of a folder, or the folder in which it lies alone."""
    place = folder.parent.parent / "downloads"
    place.mkdir()
    ending = kind.removeprefix("flat ").removesuffix(" in a folder")
    archive = place / f"{folder.name}.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in sorted(folder.rglob("*.*")):
                packed.write(path, path.relative_to(folder if kind == "flat zip" else folder.parent))
    else:
        with tarfile.open(archive, "w:gz" if ending.endswith("gz") else "w") as tar:
            tar.add(folder, folder.name)
    return place if kind.endswith("folder") else archive


def test_pairs_are_not_taken_for_the_data_set_that_lies_beside_them(
    tmp_path: Path, run: Callable[..., int]
) -> None:
    source = pairs(tmp_path / "mine")
    nnunet(source / "Dataset501_Old", seed=10)
    assert run("convert", "own", source, "--task", "KiTS19") == 2  # the other one's files fit no pair
    assert run("convert", "own", source, "--task", "KiTS19", "--skip-faulty") == 0
    [written] = (tmp_path / "runs" / "raw").iterdir()
    assert {path.name for path in (written / "labelsTr").iterdir()} == {"a0.nii.gz", "a1.nii.gz"}


def test_of_several_data_sets_in_a_folder_none_is_guessed(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    nnunet(tmp_path / "tree" / "Dataset501_A")
    nnunet(tmp_path / "tree" / "Dataset502_B", seed=10)
    assert run("convert", "own", tmp_path / "tree") == 2
    assert "holds 2 data sets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"), [("{", "is not valid JSON"), (" " * (16 * 2**20 + 1), "unpack the archive")]
)
def test_a_damaged_description_in_an_archive_is_an_explained_error(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture, text: str, told: str
) -> None:
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("Dataset501_A/dataset.json", text)
    assert run("convert", "own", archive) == 2
    assert told in capsys.readouterr().err


def test_the_decathlons_channels_in_one_file_are_not_taken_for_one_channel(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    folder = nnunet(tmp_path / "Task05_Prostate")
    for image in (folder / "imagesTr").iterdir():
        image.rename(image.with_name(image.name.replace("_0000", "")))
    said = {
        "name": "Prostate",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "zone"},
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    assert run("convert", "own", folder) == 2
    assert "nnUNetv2_convert_MSD_dataset writes each into a file of its own" in capsys.readouterr().err


def test_data_sets_that_say_different_things_are_not_joined(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    first, second = nnunet(tmp_path / "Dataset501_A"), nnunet(tmp_path / "Dataset502_B", seed=10)
    file = second / "dataset.json"
    file.write_text(file.read_text().replace('"kidney": 1', '"liver": 1'))
    assert run("convert", "own", first, second, "--name", "Both") == 2
    assert "has other labels than" in capsys.readouterr().err


def test_a_corrected_case_and_its_original_are_not_both_trained_on(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    first, second = nnunet(tmp_path / "Dataset501_A"), nnunet(tmp_path / "Dataset502_B", 1)
    assert run("convert", "own", first, second, "--name", "Both") == 2
    assert "same voxels as" in capsys.readouterr().out


@pytest.mark.parametrize("wanted", ["501", "A", "a", "Dataset501_A", None])
def test_a_data_set_is_found_by_number_name_or_folder(tmp_path: Path, wanted: str | None) -> None:
    nnunet(tmp_path / "raw" / "Dataset501_A", 1)
    if wanted is not None:
        nnunet(tmp_path / "raw" / "Dataset502_B", 1)
    _, dataset = find_dataset(Workspace(tmp_path), wanted)
    assert dataset.folder_name == "Dataset501_A"


def test_a_data_set_elsewhere_is_found_by_its_path_and_stays_there(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "elsewhere" / "Dataset501_A", 1)
    workspace, dataset = find_dataset(Workspace(tmp_path / "runs"), str(folder))
    assert (workspace.raw, workspace.root) == (folder.parent, tmp_path / "runs")
    assert dataset.channels == ("CT",)


@pytest.mark.parametrize(
    ("name", "told"),
    [("Liver", 'rename it, such as "Dataset501_Liver"'), ("Dataset501_Liver", "dataset.json does not exist")],
)
def test_a_path_that_is_no_data_set_is_not_looked_for_in_the_workspace(
    tmp_path: Path, name: str, told: str
) -> None:
    nnunet(tmp_path / "raw" / "Dataset501_Liver", 1)
    (tmp_path / "elsewhere" / name).mkdir(parents=True)
    with pytest.raises(OptionError, match=told):
        find_dataset(Workspace(tmp_path), str(tmp_path / "elsewhere" / name))


@pytest.mark.parametrize(
    ("folders", "wanted", "told"),
    [
        ([], None, "convert the data set first"),
        (["Dataset501_A", "Dataset502_B"], None, "choose one with --dataset"),
        (["Dataset501_A", "Dataset502_B"], "C", "but there are: Dataset501_A, Dataset502_B"),
        (["Dataset501_A", "Dataset501_B"], "A", "has the number of"),
    ],
)
def test_a_data_set_that_is_not_clear_is_not_guessed(
    tmp_path: Path, folders: list[str], wanted: str | None, told: str
) -> None:
    for name in folders:
        nnunet(tmp_path / "raw" / name, 1)
    with pytest.raises(OptionError, match=told):
        find_dataset(Workspace(tmp_path), wanted)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "{",
        '{"channel_names": {"1": "CT"}, "labels": {"a": 1}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"a": "1"}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"a": true}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"a": [1, -1]}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"a": 1}}',
        '{"channel_names": {"0": "CT"}, "labels": {"\\ud800": 1}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"a": 1, "ignore": [2, 3]}, "file_ending": ".nii.gz"}',
        '{"channel_names": {"0": "CT"}, "labels": {"a": 1}, "file_ending": "", "regions_class_order": 1}',
    ],
)
def test_a_damaged_description_is_an_explained_error(tmp_path: Path, text: str) -> None:
    folder = nnunet(tmp_path / "raw" / "Dataset501_A", 1)
    (folder / "dataset.json").write_text(text)
    with pytest.raises(OptionError):
        find_dataset(Workspace(tmp_path))


def test_a_check_reads_everything_and_names_each_fault(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    folder = nnunet(tmp_path / "runs" / "raw" / "Dataset501_A", 3)
    assert run("check") == 0
    image = folder / "imagesTr" / "b1_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:-100])
    phantom = trees.ct_phantom(99, 2)
    trees.write(folder / "imagesTr" / "b2_0001.nii.gz", phantom.images[0], phantom.geometry)
    assert run("check") == 2
    output = capsys.readouterr().out
    assert "b1: " in output
    assert "b2_0001.nii.gz is of a channel that the data set does not have" in output
    assert run("plan", "--patch", "32", "32", "32") == 2
    assert not (tmp_path / "runs" / "preprocessed").exists()


def test_names_that_a_description_gives_are_not_given_twice(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert run("convert", "own", nnunet(tmp_path / "Dataset501_A"), "--label", "1=liver") == 2
    assert "dataset.json names the labels already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("imagesTr/b1_0000.nii.gz", "imagesTr/b1_0000.nii", "nnU-Net would pass over"),
        ("labelsTr/b1.nii.gz", "labelsTr/b1.nii", "nnU-Net would pass over"),
        ("imagesTr/b1_0000.nii.gz", "deeper/imagesTr/b1_0000.nii.gz", "nnU-Net would pass over"),
        ("", "imagesTr/._b1_0000.nii.gz", "remove the hidden files there"),
    ],
)
def test_files_that_nnunet_would_pass_over_or_take_for_images_are_named(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture, old: str, new: str, told: str
) -> None:
    folder = nnunet(tmp_path / "Dataset501_A")
    image = read_image(folder / (old or "labelsTr/b1.nii.gz"))
    trees.write(folder / new, image.array, image.geometry)
    if old:
        (folder / old).unlink()
    assert run("check", "--dataset", folder) == 2
    output = capsys.readouterr()
    assert told in output.out + output.err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems store names as Unicode only")
def test_a_name_that_nnunet_cannot_open_is_refused_until_it_is_converted(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    """Names of old archives, which are not in UTF-8, end nnU-Net's processes."""
    folder = nnunet(tmp_path / "Dataset501_A")
    for name in ("imagesTr/b0_0000.nii.gz", "labelsTr/b0.nii.gz"):
        file = folder / name
        file.rename(file.with_name(file.name.replace("b0", "caf\udce9")))
    assert run("check", "--dataset", folder) == 2
    assert "nnU-Net cannot open" in capsys.readouterr().out
    assert run("convert", "own", folder, "--name", "B") == 0
    assert run("check") == 0


def test_a_macs_hidden_labels_are_no_cases(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "Dataset501_A")
    (folder / "labelsTr" / "._b0.nii.gz").write_bytes(b"Mac OS X")
    assert cases_of(folder, "Tr", ".nii.gz") == ["b0", "b1"]


def test_images_stored_in_two_orientations_are_not_planned_but_converted(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    folder = nnunet(tmp_path / "Dataset501_A", 3, orientation="RPS")
    assert run("check", "--dataset", folder) == 2
    assert "not all stored alike (2 as LPS, 1 as RPS)" in capsys.readouterr().err
    assert run("convert", "own", folder) == 0
    assert run("check", "--dataset", "501") == 0


def test_a_file_that_nnunet_would_read_otherwise_is_refused_until_it_is_converted(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    folder = nnunet(tmp_path / "Dataset501_A")
    (folder / "dataset.json").write_text((folder / "dataset.json").read_text().replace(".nii.gz", ".nrrd"))
    for file in sorted(folder.glob("*Tr/*.nii.gz")):
        image = sitk.ReadImage(str(file))
        image.SetSpacing([step / 10 for step in image.GetSpacing()])
        image.SetOrigin([place / 10 for place in image.GetOrigin()])
        target = file.with_name(file.name.replace(".nii.gz", ".nrrd"))
        sitk.WriteImage(image, str(target))
        header, _, voxels = target.read_bytes().partition(b"\n\n")
        target.write_bytes(header + b'\nspace units: "cm" "cm" "cm"\n\n' + voxels)  # which ITK passes over
        file.unlink()
    assert run("check", "--dataset", folder) == 2
    assert "nnU-Net would read 40 x 32 x 32 voxels of 0.1 x 0.1 x 0.1 mm" in capsys.readouterr().out
    assert run("convert", "own", folder, "--name", "Millimetres") == 0
    assert run("check", "--dataset", "Millimetres") == 0
    image = sitk.ReadImage(str(tmp_path / "runs/raw/Dataset501_Millimetres/imagesTr/b0_0000.nii.gz"))
    assert image.GetSpacing() == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--channel", "T1={case}/a", "--channel", "T1={case}/b", "--label", "1=tumor"],
            "--channel names one",
        ),
        (["--channel", "CT", "--label", "1=liver", "--label", "1=tumor"], "--label names one"),
        (["--channel", "CT", "--label", "1=background"], "'background' is no name of a structure"),
        (["--channel", "CT", "--label", "1=Ignore"], "'Ignore' is no name of a structure"),
    ],
)
def test_a_channel_or_label_that_would_take_anothers_place_is_refused(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture, words: list[str], told: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        raise SystemExit(run("convert", "own", tmp_path, *words))
    assert told in capsys.readouterr().err


def test_label_values_with_gaps_are_refused_before_a_training_stops_at_them(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    folder = nnunet(tmp_path / "Dataset502_Liver")
    said = json.loads((folder / "dataset.json").read_text())
    said["labels"] = {"background": 0, "liver": 1, "tumor": 3}
    (folder / "dataset.json").write_text(json.dumps(said))
    assert run("check", "--dataset", folder) == 2
    assert "have the values [1, 3], but nnU-Net trains 1, 2, 3" in capsys.readouterr().err


def test_voxels_that_nobody_annotated_keep_their_value(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    """nnU-Net's "ignore" is no structure: nothing is trained or counted there."""
    folder = nnunet(tmp_path / "Dataset502_Kidney", 2)
    said = json.loads((folder / "dataset.json").read_text())
    said["labels"]["ignore"] = 3
    (folder / "dataset.json").write_text(json.dumps(said))
    for number in range(2):
        labels = sitk.ReadImage(str(folder / "labelsTr" / f"b{number}.nii.gz"))
        labels[:, :, :2] = 3
        sitk.WriteImage(labels, str(folder / "labelsTr" / f"b{number}.nii.gz"))
    assert run("convert", "own", folder, "--name", "Kidney") == 0
    _, dataset = find_dataset(Workspace(tmp_path / "runs"))
    assert (dataset.labels, dataset.ignored) == ({"kidney": 1, "kidney tumor": 2}, 3)
    written = read_image(tmp_path / "runs" / "raw" / dataset.folder_name / "labelsTr" / "b0.nii.gz").array
    assert (written[:2] == 3).all()
    assert not (written[2:] == 3).any()
    assert run("check") == 0
    said["labels"] = {"background": 0, "kidney": 1, "ignore": 2, "kidney tumor": 3}
    (folder / "dataset.json").write_text(json.dumps(said))
    assert run("check", "--dataset", folder) == 2
    assert "without gaps" in capsys.readouterr().err
