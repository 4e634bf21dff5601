"""All cases of a patient are validated in the same fold: elsewhere they would have taught the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.images.dicom_files import change, write_series
from fixtures.training import challenge_trees as trees
from mednext.errors import OptionError
from mednext_training.conversion.challenges import challenge
from mednext_training.conversion.checking import check_dataset
from mednext_training.datasets import find_dataset
from mednext_training.planning.splits import read_splits, renew_splits, splits_file
from mednext_training.workspace import Workspace

HIPPOCAMPUS = challenge("hippocampus").dataset
CASES = [f"case_{number:02d}" for number in range(12)]


def split(tmp_path: Path, cases: list[str], same_patient: list[list[str]]) -> list[dict[str, list[str]]]:
    workspace = Workspace(tmp_path)
    splits_file(workspace, HIPPOCAMPUS).parent.mkdir(parents=True, exist_ok=True)
    renew_splits(workspace, HIPPOCAMPUS, cases, same_patient)
    return read_splits(workspace, HIPPOCAMPUS) or []


def same_patient_in(folder: Path) -> list[list[str]] | None:
    return json.loads((folder / "dataset.json").read_text()).get("same_patient")


def test_cases_of_a_patient_are_on_one_side_of_every_fold(tmp_path: Path) -> None:
    patients = [CASES[0:3], ["case_11", "case_05"]]
    folds = split(tmp_path, CASES, patients)
    assert len(folds) == 5
    assert sorted(case for fold in folds for case in fold["val"]) == CASES
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == CASES
        for names in map(set, patients):
            assert names <= set(fold["train"]) or names <= set(fold["val"])


def test_without_such_patients_the_split_is_nnunets(tmp_path: Path) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    wanted = generate_crossval_split(CASES, seed=12345, n_splits=5)
    assert split(tmp_path, CASES, []) == [
        {side: list(map(str, each[side])) for side in each} for each in wanted
    ]


def test_as_many_folds_are_made_as_there_are_patients(tmp_path: Path) -> None:
    assert len(split(tmp_path, CASES[:6], [CASES[0:3], CASES[3:5]])) == 3


def test_cases_of_one_patient_alone_are_parted_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(split(tmp_path, CASES[:3], [CASES[:3]])) == 3
    assert "says nothing about another one" in caplog.text


def test_a_split_of_ones_own_that_parts_a_patient_stays_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = split(tmp_path, CASES, [])
    assert split(tmp_path, CASES, [CASES[:8]]) == before
    assert "case_00 and case_01, which are of one patient" in caplog.text


def two_examinations(source: Path) -> Path:
    """BraTS as of 2023 with two examinations of the first of three patients."""
    trees.write_brats(source, 4, "2023")
    second, later = source / "BraTS-GLI-00001-000", source / "BraTS-GLI-00000-001"
    second.rename(later)
    for file in list(later.iterdir()):
        file.rename(later / file.name.replace(second.name, later.name))
    return source


def test_a_converted_data_set_keeps_which_cases_are_of_one_patient(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    together = ["BraTS-GLI-00000-000", "BraTS-GLI-00000-001"]
    assert convert("brats21", two_examinations(tmp_path / "patient 1")) == 0
    workspace, dataset = find_dataset(Workspace(tmp_path / "runs"))
    folder = workspace.raw / dataset.folder_name
    assert same_patient_in(folder) == [together]
    assert check_dataset(workspace, dataset).same_patient == [together]
    # Joined data sets keep the patients that somebody wrote down.
    said = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(
        json.dumps(said | {"same_patient": [["BraTS-GLI-00002-000", "BraTS-GLI-00003-000"]]})
    )
    assert convert("own", folder, "--name", "Joined") == 0
    assert same_patient_in(workspace.raw / "Dataset501_Joined") == [
        together,
        ["BraTS-GLI-00002-000", "BraTS-GLI-00003-000"],
    ]


def test_a_patient_is_known_by_any_of_its_names(tmp_path: Path, convert: Callable[..., int]) -> None:
    """Each examination got another PatientID, folders name the patient, and somebody wrote a list."""
    source = tmp_path / "source"
    for number, name in enumerate(("sub-01_ses-1", "sub-01_ses-2", "other")):
        phantom = trees.ct_phantom(number, 2)
        write_series(source / name / "ct", phantom.images[0], phantom.geometry)
        change(source / name / "ct", lambda dataset, _, name=name: setattr(dataset, "PatientID", name))
        trees.write(source / name / "labels.nii.gz", phantom.labels, phantom.geometry)
    (source / "dataset.json").write_text('{"same_patient": [["sub-01_ses-2", "other"]]}')
    words = ["--channel", "CT={case}/ct", "--labels", "{case}/labels.nii.gz", "--name", "A"]
    assert convert("own", source, *words, "--label", "1=kidney", "--label", "2=tumor") == 0
    assert same_patient_in(tmp_path / "runs" / "raw" / "Dataset501_A") == [
        ["other", "sub-01_ses-1", "sub-01_ses-2"]
    ]


def test_a_patient_in_the_name_of_the_source_is_not_that_of_all_cases(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    source = trees.write_hippocampus(tmp_path / "case_7", 2)
    assert convert("hippocampus", source) == 0
    assert same_patient_in(tmp_path / "runs" / "raw" / "Dataset004_Hippocampus") is None


def test_channels_of_two_patients_are_not_one_case(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "source"
    for number in range(2):
        phantom, case = trees.ct_phantom(number, 2), source / f"a{number}"
        for channel in ("plain", "contrast"):
            write_series(case / channel, phantom.images[0] + (channel == "plain"), phantom.geometry)
        trees.write(case / "labels.nii.gz", phantom.labels, phantom.geometry)
    change(source / "a1" / "plain", lambda dataset, _: setattr(dataset, "PatientID", "T2"))
    words = [
        "--channel",
        "A={case}/plain",
        "--channel",
        "B={case}/contrast",
        "--labels",
        "{case}/labels.nii.gz",
    ]
    assert convert("own", source, *words, "--label", "1=kidney", "--label", "2=tumor") == 2
    assert "a1: Its images are of several patients" in capsys.readouterr().out


@pytest.mark.parametrize("text", ['{"a": 1}', '[["a", 1]]', "3"])
def test_a_damaged_list_of_patients_is_an_explained_error(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "raw" / "Dataset501_A"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"a": 1}, "file_ending": ".nii.gz", "same_patient": '
        f"{text}}}"
    )
    with pytest.raises(OptionError, match="list of names of cases"):
        find_dataset(Workspace(tmp_path))
