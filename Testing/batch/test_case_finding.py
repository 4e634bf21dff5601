"""The cases that are found in a folder, their channels, and the names of their results."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from fixtures.batch.cases import noise
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import TINY_NETWORK, tiny_model
from mednext.batch.case import Case
from mednext.batch.case_finding import find_cases
from mednext.errors import ChannelError, OptionError
from mednext.images.geometry import Geometry
from mednext.inputs.channel_names import channel_in, group_by_channels
from mednext.model.description import Channel

T1 = tiny_model()
CT = tiny_model(channels=(Channel("CT", "CT", "none"),))
TWO = tiny_model(
    network=replace(TINY_NETWORK, in_channels=2),
    channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")),
)
TWO_CT = replace(TWO, channels=(Channel("arterial", "CT", "none"), Channel("venous", "CT", "none")))
UPRIGHT = Geometry((22, 20, 18), (1.0, 1.0, 1.0))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def cases(folder: Path, model=T1, output=None) -> dict[str, Case]:
    found = find_cases(folder, model, output).cases
    assert len({case.name.casefold() for case in found}) == len(found)
    return {case.name: case for case in found}


def files(case: Case) -> list[str]:
    return [file.name for file in case.files]


def test_every_image_below_a_folder_is_a_case_in_its_own_folder(tmp_path):
    touch(tmp_path / "b.nrrd", tmp_path / "p 1" / "Kopf mit ü.nii.gz", tmp_path / "头" / "x.mha")
    assert list(cases(tmp_path)) == ["b", "p 1/Kopf mit ü", "头/x"]


def test_results_hidden_files_and_the_output_folder_are_ignored(tmp_path):
    touch(
        tmp_path / "a.nii.gz", tmp_path / "a.seg.nrrd", tmp_path / "._a.nii.gz", tmp_path / ".git" / "b.nii"
    )
    touch(tmp_path / "results" / "c.nii.gz", tmp_path / "__MACOSX" / "d.nii", tmp_path / "notes.txt")
    assert list(cases(tmp_path, output=tmp_path / "results")) == ["a"]


def test_linked_folders_are_searched_once(tmp_path):
    touch(*(tmp_path / path for path in ("disk/p1/a.nii", "disk/p3/c.nii", "study/p2/b.nii")))
    (tmp_path / "study" / "p1").symlink_to(tmp_path / "disk" / "p1")
    (tmp_path / "study" / "rest").symlink_to(tmp_path / "disk")
    (tmp_path / "study" / "again").symlink_to(tmp_path / "study" / "p2")
    (tmp_path / "study" / "p2" / "without end").symlink_to(tmp_path / "study")
    (tmp_path / "disk" / "p1" / "loop").symlink_to(tmp_path / "disk" / "p1")
    assert set(cases(tmp_path / "study")) == {"p1/a", "p2/b", "rest/p3/c"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_in_an_unknown_encoding_are_cases_like_all_others(tmp_path):
    latin = os.fsdecode("Müller".encode("latin-1"))
    touch(tmp_path / "a.nii", tmp_path / f"{latin}.nii", tmp_path / latin / "b.nii")
    found = cases(tmp_path)
    assert set(found) == {"a", "M_ller", "M_ller/b"}
    assert found["M_ller/b"].source == r"M\xfcller/b.nii"
    write_series(tmp_path / "ct", noise(), UPRIGHT)
    next((tmp_path / "ct").iterdir()).rename(tmp_path / "ct" / latin)
    assert not any(case.problem for case in cases(tmp_path, CT).values())


def test_the_same_name_with_two_suffixes_makes_two_results(tmp_path):
    touch(tmp_path / "p" / "a.nii.gz", tmp_path / "p" / "A.mha", tmp_path / "p" / "b.nii")
    assert list(cases(tmp_path)) == ["p/A.mha", "p/a.nii.gz", "p/b"]


def test_the_channels_of_nnunet_go_by_their_numbers(tmp_path):
    touch(*(tmp_path / f"{case}_000{n}.nii.gz" for case in ("x", "y") for n in (1, 0)))
    found = cases(tmp_path, TWO)
    assert {name: files(case) for name, case in found.items()} == {
        "x": ["x_0000.nii.gz", "x_0001.nii.gz"],
        "y": ["y_0000.nii.gz", "y_0001.nii.gz"],
    }


@pytest.mark.parametrize("names", [["x_0000.nii.gz"], ["x_0000.nii.gz", "x_0001.nii.gz", "x_0002.nii.gz"]])
def test_too_few_and_too_many_numbered_channels_are_refused(tmp_path, names):
    touch(*(tmp_path / name for name in names))
    (case,) = find_cases(tmp_path, TWO).cases
    assert isinstance(case.problem, ChannelError)
    assert "_0001 (FLAIR)" in str(case.problem)


def test_a_model_of_one_channel_takes_no_patient_with_several(tmp_path):
    touch(tmp_path / "x_0000.nii.gz", tmp_path / "x_0001.nii.gz", tmp_path / "y_0000.nii.gz")
    found = cases(tmp_path)
    assert isinstance(found["x"].problem, ChannelError)
    assert found["y"].problem is None


def test_many_numbered_files_are_many_cases(tmp_path):
    touch(*(tmp_path / f"scan_{n:04}.nii.gz" for n in range(12)))
    assert len(cases(tmp_path)) == 12


def test_channels_go_by_their_names_in_a_folder_for_each_case(tmp_path):
    touch(tmp_path / "p1" / "FLAIR.nii.gz", tmp_path / "p1" / "t1.nii.gz")
    touch(tmp_path / "p2" / "p2-T2_flair.nii.gz", tmp_path / "p2" / "p2-MPRAGE.nii.gz")
    found = cases(tmp_path, TWO)
    assert {name: files(case) for name, case in found.items()} == {
        "p1": ["t1.nii.gz", "FLAIR.nii.gz"],
        "p2/p2": ["p2-MPRAGE.nii.gz", "p2-T2_flair.nii.gz"],
    }


def test_several_patients_in_one_folder_are_told_apart_by_the_rest_of_the_names(tmp_path):
    touch(*(tmp_path / f"{p}_{c}.nii.gz" for p in ("anna", "bob") for c in ("T1", "FLAIR")))
    assert list(cases(tmp_path, TWO)) == ["anna", "bob"]


def test_a_missing_or_ambiguous_channel_is_reported(tmp_path):
    touch(tmp_path / "p1" / "T1.nii.gz", tmp_path / "p2" / "T1_a.nii.gz", tmp_path / "p2" / "T1_b.nii.gz")
    touch(tmp_path / "p2" / "FLAIR.nii.gz", tmp_path / "p2" / "localizer.nii.gz")
    found = cases(tmp_path, TWO)
    assert "no image for FLAIR" in str(found["p1"].problem)
    assert "T1 may be T1_a or T1_b" in str(found["p2"].problem)
    assert "T1, FLAIR" in found["p2/localizer"].left_out


def test_an_image_named_after_another_sequence_is_left_out(tmp_path):
    touch(tmp_path / "p_T1.nii.gz", tmp_path / "p_FLAIR.nii.gz", tmp_path / "scan.nii.gz")
    assert [name for name, case in cases(tmp_path).items() if not case.left_out] == ["p_T1", "scan"]
    assert not any(case.left_out for case in cases(tmp_path, CT).values())  # time points, perhaps


LAYOUTS = {
    "KiTS": (
        "c/imaging.nii.gz",
        ["c/segmentation.nii.gz", "c/instances/kidney_instance-1_annotation-1.nii.gz"],
    ),
    "TotalSegmentator": ("s0/ct.nii.gz", ["s0/segmentations/liver.nii.gz", "s0/segmentations/spleen.nii.gz"]),
    "Decathlon": ("imagesTr/liver_0.nii.gz", ["labelsTr/liver_0.nii.gz"]),
    "suffix": ("p1.nii.gz", ["p1_seg.nii.gz", "p1-mask.nii.gz", "p1_tumorSeg.nrrd", "p1.label.mha"]),
}


@pytest.mark.parametrize("model", [T1, CT], ids=["MR", "CT"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_beside_images_are_reported_as_left_out(tmp_path, layout, model):
    image, masks = LAYOUTS[layout]
    touch(*(tmp_path / name for name in (image, *masks)))
    found = find_cases(tmp_path, model).cases
    told = {case.source: "mask" in case.left_out for case in found}
    assert all(mask in told or mask.rpartition("/")[0] in told for mask in masks)
    assert [source for source, left_out in told.items() if not left_out] == [image]


@pytest.mark.parametrize(
    "name", ["labels/a.nii.gz", "masked_ct.nii.gz", "gtv planning ct.nii.gz", "segment 3.nii"]
)
def test_images_that_are_not_masks_of_others_are_cases(tmp_path, name):
    touch(tmp_path / name)
    if "labels" not in name:
        touch(tmp_path / "other.nii.gz")
    assert not any(case.left_out for case in cases(tmp_path, CT).values())


def test_a_single_file_is_segmented_whatever_its_name(tmp_path):
    touch(tmp_path / "a.nii.gz", tmp_path / "mask.nii.gz")
    assert [case.left_out for case in cases(tmp_path / "mask.nii.gz", CT).values()] == [""]


def test_one_file_is_a_folder_of_one(tmp_path):
    touch(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    assert list(cases(tmp_path / "a.nii.gz")) == ["a"]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(OptionError, match="does not exist"):
        find_cases(tmp_path / "nothing", T1)


def test_scenes_are_found_for_slicer(tmp_path):
    touch(tmp_path / "a.mrb", tmp_path / "sub" / "b.mrml")
    assert [scene.name for scene in find_cases(tmp_path, T1).scenes] == ["a.mrb", "b.mrml"]


def test_dicom_series_go_by_modality_and_scouts_are_left_out(tmp_path):
    write_series(tmp_path / "p1" / "thick", noise(), UPRIGHT, description="Abdomen")
    write_series(tmp_path / "p1" / "scout", noise()[:1], UPRIGHT, description="Topogram")
    found = cases(tmp_path, CT)
    assert not found["p1/thick"].left_out and len(found["p1/thick"].files) == 18
    assert "single slice" in found["p1/scout/Topogram"].left_out
    assert all("CT" in case.left_out for case in cases(tmp_path, T1).values())


def test_two_series_in_one_folder_are_named_by_their_descriptions(tmp_path):
    write_series(tmp_path / "p1", noise(), UPRIGHT, description="Lung <1 mm>")
    write_series(tmp_path / "p1", noise(1), UPRIGHT, description="Soft tissue")
    assert set(cases(tmp_path, CT)) == {"p1/Lung _1 mm_", "p1/Soft tissue"}


def test_the_channels_of_a_dicom_study_go_by_the_descriptions(tmp_path):
    study = "1.2.826.0.1.3680043.8.498.1"
    for number, description in enumerate(("CT venous 3 mm", "CT arterial 3 mm", "CT plain")):
        write_series(tmp_path / "p" / str(number), noise(), UPRIGHT, description=description, study_uid=study)
    found = cases(tmp_path, TWO_CT)
    arterial, venous = found["p"].images
    assert Path(arterial.split("#")[0]).name == "1" and Path(venous.split("#")[0]).name == "0"
    assert "arterial, venous" in found["p/2/CT plain"].left_out


def test_a_series_spread_over_several_folders_is_refused_and_not_cut_into_parts(tmp_path):
    write_series(tmp_path / "p" / "DIR000", noise(), UPRIGHT)
    (tmp_path / "p" / "DIR001").mkdir()
    for file in sorted((tmp_path / "p" / "DIR000").iterdir())[:9]:
        file.rename(tmp_path / "p" / "DIR001" / file.name)
    found = cases(tmp_path, CT)
    assert set(found) == {"p"} and not found["p"].images
    assert "p/DIR000, p/DIR001" in str(found["p"].problem)


def test_dicom_files_of_old_archives_without_a_preamble_are_found(tmp_path):
    write_series(tmp_path / "p", noise(), UPRIGHT)
    for file in (tmp_path / "p").iterdir():
        bare = pydicom.Dataset(pydicom.dcmread(file))
        pydicom.dcmwrite(file, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert len(cases(tmp_path, CT)["p"].files) == 18


def test_copies_of_a_series_are_a_case_each(tmp_path):
    write_series(tmp_path / "p", noise(), UPRIGHT)
    shutil.copytree(tmp_path / "p", tmp_path / "copy")
    assert all(len(case.files) == 18 and not case.problem for case in cases(tmp_path, CT).values())


def test_a_damaged_dicom_file_is_a_case_with_a_problem(tmp_path):
    write_series(tmp_path / "p", noise(), UPRIGHT)
    (tmp_path / "p" / "damaged").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 50)
    assert "damaged" in str(cases(tmp_path, CT)["p"].problem)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("T2 FLAIR", "FLAIR"),
        ("sub-01_T1w", "T1"),
        ("t1_mprage_sag", "T1"),
        ("BraTS2021_00000_t1ce", "T1ce"),
        ("T1 post contrast", "T1ce"),
        ("AXT2", "T2"),
        ("p1-T1_SPACE-post_Gd", "T1ce"),
        ("T1_T2_fusion", None),
        ("", None),
    ],
)
def test_a_name_identifies_its_channel(name, channel):
    channels = ["T1", "T1ce", "T2", "FLAIR"]
    index = channel_in(name, channels)
    assert (None if index is None else channels[index]) == channel


def test_time_points_of_one_patient_are_groups_of_their_own():
    groups, _ = group_by_channels(["T1 2019", "FLAIR 2019", "T1 2020", "FLAIR 2020"], ["T1", "FLAIR"])
    assert [(group.name, group.members) for group in groups] == [("2019", (0, 1)), ("2020", (2, 3))]
