"""Each challenge as it is given out, in all its editions, becomes one data set with one meaning of labels."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.training import challenge_trees as trees
from fixtures.training.converted_data import CASES, FOLDERS, cases_in, raw, report
from mednext.images.formats.image_files import read_image


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


def test_the_hearts_beside_synapses_abdomen_are_not_taken_for_abdomens(
    tmp_path: Path,
    convert: Callable[..., int],
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`synapse get -r syn3193805` brings cine MR with the label 1, which would be the spleen."""
    project = tmp_path / "syn3193805"
    heart = trees.hippocampus_phantom(0)
    for part, suffix, array in (("images", "", heart.images[0]), ("labels", "_seg", heart.labels)):
        file = project / f"averaged-training-{part}" / f"DET0000101_avg{suffix}.nii.gz"
        trees.write(file, array, heart.geometry)
    with zipfile.ZipFile(trees.write_btcv(project, 2) / "Abdomen" / "RawData.zip", "w"):
        pass
    assert convert("btcv", project) == 0
    assert cases_in(raw(tmp_path, "btcv")) == CASES["btcv"]
    assert "RawData.zip is not unpacked" in caplog.text
    shutil.rmtree(project / "Abdomen")
    assert convert("btcv", project) == 2
    assert "It is the MR of a heart" in capsys.readouterr().err


@pytest.mark.parametrize("edition", ["2021", "2023", "2023 in copies"])
def test_kits_with_labels_that_were_drawn_anew_is_not_kits19(
    tmp_path: Path, convert: Callable[..., int], edition: str
) -> None:
    folder = trees.write_kits(tmp_path / "source", 2) / "data"
    for number, case in enumerate(sorted(folder.glob("case_*"))[:2]):
        labels = case / "segmentation.nii.gz"
        if edition == "2021":
            labels.rename(case / "aggregated_MAJ_seg.nii.gz")
        elif edition == "2023":
            shutil.copytree(case, case / "instances")
        elif number == 0:
            case.rename(folder / "case_00401")
        else:
            found = read_image(labels)
            trees.write(labels, np.where(found.array == 2, 3, found.array), found.geometry)
    assert convert("kits19", tmp_path / "source", "--skip-faulty") == 2
    rows = report(tmp_path, "kits19").values()
    assert all("of KiTS 2021 or 2023" in row["remarks"] for row in rows if row["result"] == "faulty")


def test_glioblastomas_of_upenn_are_found_in_their_folders(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    for number in range(2):
        phantom, name = trees.glioma_phantom(number), f"UPENN-GBM-{number:05d}_11"
        for sequence, image in zip(("T1", "T1GD", "T2", "FLAIR"), phantom.images, strict=True):
            file = tmp_path / "source" / "images_structural" / name / f"{name}_{sequence}.nii.gz"
            trees.write(file, image, phantom.geometry)
        labels = tmp_path / "source" / "images_segm" / f"{name}_segm.nii.gz"
        trees.write(labels, phantom.labels, phantom.geometry)
    assert convert("brats21", tmp_path / "source") == 0
    image = read_image(raw(tmp_path, "brats21") / "imagesTr" / "UPENN-GBM-00001_11_0001.nii.gz")
    assert np.array_equal(image.array, trees.glioma_phantom(1).images[1])


def test_images_of_other_names_are_told(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    case = trees.write_kits(tmp_path / "source", 2) / "data" / "case_00001"
    for file in list(case.iterdir()):
        file.rename(case / f"the_{file.name}")
    assert convert("kits19", tmp_path / "source") == 0
    assert "2 images are not used, as they are named otherwise" in capsys.readouterr().out


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
    case = trees.write_kits(tmp_path / "source", 1, dicom=True) / "data" / "case_00000"
    (case / "imaging" / "0 AGREEMENT").write_text("no slice, but the first file")
    assert convert("kits19", tmp_path / "source") == 0
    image = read_image(raw(tmp_path, "kits19") / "imagesTr" / "case_00000_0000.nii.gz")
    assert np.array_equal(image.array, trees.ct_phantom(0, 2).images[0])


def test_a_source_of_which_everything_is_left_out_says_why(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    trees.write_amos(tmp_path / "source", 0, mr=2)
    assert convert("amos22", tmp_path / "source") == 2
    assert "It is an MR image: --with-mr takes them, too." in capsys.readouterr().err


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
def test_real_hippocampus_cases_are_sound(
    tmp_path: Path, convert: Callable[..., int], real_data: Path
) -> None:
    """A fifth of the 220."""
    for part in ("images", "labels"):
        (tmp_path / "some" / part).mkdir(parents=True)
        for file in sorted((real_data / "hippocampus" / part).iterdir())[::5]:
            (tmp_path / "some" / part / file.name).symlink_to(file)
    assert convert("hippocampus", tmp_path / "some") == 0
    assert len(cases_in(raw(tmp_path, "hippocampus"))) == 44
