"""Images that do not fit the model are warned of in all ways of use, and refused if certainly wrong."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from bundles import TINY_NETWORK, tiny_bundle, tiny_model
from cases import add_image, noise
from dicom_files import write_series
from mednext import read_channels, read_volume, segment
from mednext.cli import main
from mednext.errors import SuspectInputError
from mednext.images.description.image_description import ImageDescription
from mednext.images.description.patient_names import patient_in, session_in
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inputs.input_doubts import Findings, InputImage, check_inputs, inputs_of
from mednext.inputs.voxel_sample import sample_of
from mednext.model.description import Channel, Model
from worker_dialogue import environment

CT = Channel("CT", "CT", "ct", 50.0, 100.0, -900.0, 1500.0)
CT_MODEL = tiny_model(channels=(CT,))
T1, T1CE, T2, FLAIR = (Channel(name, "MR", "zscore") for name in ("T1", "T1ce", "T2", "FLAIR"))
BRATS = tiny_model(channels=(T1, T1CE, T2, FLAIR))
GRID = Geometry((22, 20, 18), (1.0, 1.0, 1.0), (-10.0, -12.0, 5.0))
CHEST = np.random.default_rng(0).choice([-1000, -900, 0, 40, 60, 900], GRID.shape) + np.arange(22)


def found(model: Model, *images: ImageDescription | str, voxels: Sequence[np.ndarray] = ()) -> Findings:
    """The doubts about these images as channels of a model, with the voxels of different MR."""
    arrays = voxels or [noise(seed) for seed in range(len(images))]
    inputs = [
        InputImage(ImageDescription(image) if isinstance(image, str) else image, GRID, sample_of(array))
        for image, array in zip(images, arrays, strict=True)
    ]
    return check_inputs(model, inputs)


def certain(findings: Findings) -> list[str]:
    return [doubt.sentence for doubt in findings.doubts if doubt.certain]


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "thorax", channels=(CT,))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    network = replace(TINY_NETWORK, in_channels=2)
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "two", network=network, channels=(T1, FLAIR))


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`mednext segment --json`: exit code and document."""

    def run_it(bundle: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
        output = ["--output", tmp_path / "out.nii.gz", "--overwrite", "--json", "--device", "cpu"]
        code = main(["segment", *map(str, [*arguments, "--model", bundle.path, *output, "--threads", 1])])
        return code, json.loads(capsys.readouterr().out)

    return run_it


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (CHEST + 1024, "Subtract the offset, usually 1024"),
        (CHEST + 1000, "Subtract the offset, usually 1024"),
        (CHEST + 32768, "Subtract the offset, usually 1024"),
        (np.interp(CHEST, (-160, 240), (0, 255)).round(), "as a picture has, and not Hounsfield units"),
        (np.interp(CHEST, (-1000, 1000), (0, 1)), "it was normalised, and has no Hounsfield units"),
        (np.interp(CHEST, (-1000, 1000), (-1, 1)), "it was normalised, and has no Hounsfield units"),
        ((CHEST - CHEST.mean()) / CHEST.std(), "it was normalised, and has no Hounsfield units"),
        (np.clip(CHEST, -160, 240), "has no air (values from -160 to 240)"),
        (np.clip(CHEST, -1350, 150), "has no value above 150, which many voxels have, as in a window"),
        (noise() * 2, "Subtract the offset, usually 1024; give another image if it is no CT"),  # an MR
    ],
)
def test_values_that_are_not_hounsfield_units_are_warned_of_on_the_command_line(
    run, ct, tmp_path, voxels, words
):
    image = add_image(tmp_path / "scan.nii.gz", voxels=voxels.astype(np.float32))
    code, document = run(ct, image)
    assert code == 0
    assert words in document["warning"]
    assert document["warning"] == document["provenance"]["warning"]


@pytest.mark.parametrize("option", ["--json", "--threads=1"])
def test_warnings_go_to_standard_error(ct, tmp_path, option):
    image = add_image(tmp_path / "scan.nii.gz", voxels=(CHEST + 1024).astype(np.int16))
    output = ["--output", str(tmp_path / "out.nii.gz"), "--device", "cpu", option]
    command = [sys.executable, "-m", "mednext", "segment", str(image), "--model", str(ct.path), *output]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert "Subtract the offset" in done.stderr


def test_a_ct_that_fits_gives_no_warning(run, ct, tmp_path):
    code, document = run(ct, add_image(tmp_path / "p01_t2.nii.gz", voxels=CHEST.astype(np.int16)))
    assert code == 0  # its name may mean the second examination
    assert document["warning"] == '"p01_t2.nii.gz" seems to be T2, not CT: check the choice.'
    code, document = run(ct, add_image(tmp_path / "pt_001.nii.gz", voxels=CHEST.astype(np.int16)))
    assert (code, document["warning"]) == (0, "")


def test_an_mr_by_its_name_and_its_values_is_refused_for_a_model_of_ct(run, ct, tmp_path):
    image = add_image(tmp_path / "t1ce.nii.gz")
    code, document = run(ct, image)
    assert (code, document["error"]) == (2, "SuspectInputError")
    assert "insist (--insist, insist=True)" in document["message"]
    assert not (tmp_path / "out.nii.gz").exists()
    code, document = run(ct, image, "--insist")
    assert code == 0
    assert '"t1ce.nii.gz" seems to be T1 with contrast agent, not CT' in document["warning"]


@pytest.mark.parametrize(
    ("model", "modality", "words"),
    [
        (CT_MODEL, "MR", "is MR by its DICOM header, the model takes CT"),
        (CT_MODEL, "PT", "is PT by its DICOM header"),
        (tiny_model(), "CT", "is CT by its DICOM header, the model takes MR"),
    ],
)
def test_another_modality_in_the_header_is_warned_of(model, modality, words):
    assert words in found(model, ImageDescription("series", modality)).warnings[0]


def test_a_ct_in_a_model_of_mr_is_recognised_by_its_values():
    assert "as a CT has; the model takes MR" in found(tiny_model(), "scan", voxels=[CHEST]).warnings[0]
    abdomen = np.clip(CHEST, None, 196)  # 98 % of a small real one are below
    assert "as a CT has; the model takes MR" in found(tiny_model(), "scan", voxels=[abdomen]).warnings[0]
    pet = tiny_model(channels=(Channel("PET", "PT", "zscore"),))
    assert "as a CT has; the model takes PT" in found(pet, "scan", voxels=[CHEST]).warnings[0]


@pytest.mark.parametrize("name", ["adc.nii.gz", "sub-01_ADC", "prostate_adc_map.nrrd"])
@pytest.mark.parametrize("model", [CT_MODEL, tiny_model()])
def test_a_map_is_recognised_by_its_name_or_its_header(model, name):
    words = "seems to be a map, a mask or another derived image"
    assert words in found(model, name).warnings[0]
    header = ImageDescription("series 7", "MR", image_type="DERIVED\\PRIMARY\\DIFFUSION\\ADC")
    assert words in found(tiny_model(), header).warnings[0]


def test_a_localizer_is_refused_by_its_header_and_warned_of_by_its_name():
    scout = ImageDescription("series 1", "MR", image_type="ORIGINAL\\PRIMARY\\LOCALIZER")
    assert certain(found(tiny_model(), scout)) == [
        '"series 1" is a localizer by its DICOM header: give the series that was planned on it.'
    ]
    assert found(tiny_model(), "AAHead_Scout", voxels=[noise()]).warnings


@pytest.mark.parametrize(
    "names",
    [
        tuple(f"BraTS-GLI-00001-000-{kind}" for kind in ("t1n", "t1c", "t2w", "t2f")),
        tuple(f"BraTS20_Training_001_{kind}.nii" for kind in ("t1", "t1ce", "t2", "flair")),
        ("t1.mha", "T1 KM.mha", "t2_tse.mha", "t2_tirm_tra_dark-fluid.mha"),
        ("p_0000.nii.gz", "p_0001.nii.gz", "p_0002.nii.gz", "p_0003.nii.gz"),
    ],
)
def test_files_in_another_order_than_the_models_are_refused_and_in_its_order_accepted(names):
    for order in itertools.permutations(names):
        assert bool(certain(found(BRATS, *order))) == (order != names), order
    assert found(BRATS, *names).warnings == ()


def test_two_t1_of_which_one_may_have_contrast_agent_are_only_warned_of():
    findings = found(BRATS, "t1_mprage first", "t1_mprage second", "t2", "flair")
    assert certain(findings) == []
    assert '"t1_mprage second" seems to be T1, not T1ce: check the choice.' in findings.warnings


def test_images_are_refused_only_if_none_of_their_names_fits_its_channel():
    assert certain(found(tiny_model(channels=(T1, FLAIR)), "t1", "t2")) == []
    assert len(certain(found(tiny_model(channels=(T1, FLAIR)), "flair", "t2"))) == 3
    assert certain(found(tiny_model(), "flair.nii.gz")) == [
        '"flair.nii.gz" seems to be FLAIR, not T1: check the choice.'
    ]
    assert certain(found(tiny_model(), "t1_km.nii.gz")) == []


def test_channels_of_other_kinds_are_known_by_their_own_names():
    model = tiny_model(channels=(Channel("ADC", "MR", "zscore"), Channel("DWI", "MR", "zscore")))
    assert found(model, "p1_adc", "p1_dwi").warnings == ()
    assert certain(found(model, "p1_dwi", "p1_adc"))


def test_files_in_another_order_are_refused_on_the_command_line_before_anything_is_computed(
    run, two, tmp_path
):
    t1, flair = add_image(tmp_path / "t1.nii.gz"), add_image(tmp_path / "flair.nii.gz", 1)
    code, document = run(two, flair, t1)
    assert (code, document["error"]) == (2, "SuspectInputError")
    assert '"flair.nii.gz" seems to be FLAIR, not T1' in document["message"]
    assert "The model takes T1, FLAIR, in this order." in document["message"]
    code, document = run(two, t1, flair)
    assert (code, document["warning"]) == (0, "")


def same(tmp_path: Path, how: str) -> tuple[Path, Path]:
    """Two names of one image."""
    image = add_image(tmp_path / "t1.nii.gz")
    other = tmp_path / "flair.nii.gz"
    if how == "path":
        return image, tmp_path / "." / "t1.nii.gz"
    if how == "hard link":
        os.link(image, other)
    elif how == "symbolic link":
        other.symlink_to(image)
    elif how == "other format":
        other = add_image(tmp_path / "flair.nrrd")
    elif how == "other orientation":
        other = tmp_path / "flair.nrrd"
        axes = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
        grid = Geometry(GRID.size, GRID.spacing, (-10.0 + 21, -12.0 + 19, 5.0), axes)
        from mednext.images.volume import write_image

        write_image(other, np.ascontiguousarray(noise()[:, ::-1, ::-1]), grid)
    else:
        other.write_bytes(image.read_bytes())
    return image, other


@pytest.mark.parametrize(
    "how", ["path", "hard link", "symbolic link", "copy", "other format", "other orientation"]
)
def test_one_image_for_two_channels_is_refused_unless_the_user_insists(run, two, tmp_path, how):
    pair = same(tmp_path, how)
    code, document = run(two, *pair)
    assert (code, document["error"]) == (2, "SuspectInputError")
    assert "are one file" in document["message"] or "have the same voxels" in document["message"]
    code, document = run(two, *pair, "--insist")
    assert code == 0 and document["warning"]


@pytest.mark.parametrize(
    ("path", "patient", "session"),
    [
        ("/data/sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz", "sub-01", "ses-02"),
        ("/data/sub-Ab3/anat/T1w.nii.gz", "sub-ab3", ""),
        ("BraTS-GLI-00005-001-t1n.nii.gz", "brats-gli-00005", "001"),
        ("BraTS2021_00412_flair.nii.gz", "brats2021_00412", ""),
        ("BraTS20_Training_007_t1ce.nii", "brats20_training_007", ""),
        ("Brats17_2013_2_1_t1.nii.gz", "brats17_2013_2", "1"),
        ("Brats18_CBICA_AAB_1_flair.nii.gz", "brats18_cbica_aab", "1"),
        ("BraTS19_TMC_06290_1_t2.nii.gz", "brats19_tmc_06290", "1"),
        ("C:\\scans\\Patient 12\\T1.nrrd", "patient 12", ""),
        ("/home/user/hippocampus_075.nii.gz", "", ""),
        ("subtraction.nii.gz", "", ""),
    ],
)
def test_patient_and_examination_are_found_in_names(path, patient, session):
    assert (patient_in(path), session_in(path)) == (patient, session)


@pytest.mark.parametrize(
    ("t1", "flair"),
    [
        ("sub-01_T1w", "sub-02_FLAIR"),
        ("BraTS-GLI-00001-000-t1n", "BraTS-GLI-00002-000-t2f"),
        ("BraTS2021_00001_t1", "BraTS2021_00011_flair"),
        ("Brats18_CBICA_AAB_1_t1", "Brats18_CBICA_AAG_1_flair"),
        ("case1_0000", "case2_0001"),
    ],
)
def test_images_of_two_patients_by_their_names_are_refused(t1, flair):
    assert any(
        "different" in sentence for sentence in certain(found(tiny_model(channels=(T1, FLAIR)), t1, flair))
    )


def test_images_of_two_patients_in_the_headers_of_dicom_are_refused():
    model = tiny_model(channels=(T1, FLAIR))
    t1 = ImageDescription("t1", "MR", patient="4711", study="1.2.3", frame="1.9")
    flair = replace(t1, name="flair")
    assert found(model, t1, flair).warnings == ()
    assert certain(found(model, t1, replace(flair, patient="4712"))) == [
        "The images are of different patients."
    ]
    assert "different studies" in found(model, t1, replace(flair, study="1.2.4")).warnings[0]
    assert "different frames of reference" in found(model, t1, replace(flair, frame="1.8")).warnings[0]
    assert found(model, t1, replace(flair, patient="", study="", frame="")).warnings == ()


def test_different_numbers_in_similar_names_are_warned_of_but_not_those_of_series():
    model = tiny_model(channels=(T1, FLAIR))
    assert "are the images of one patient?" in found(model, "k17_t1", "k18_flair").warnings[0]
    assert "are the images of one patient?" in found(model, "brain_1_t1", "brain_2_flair").warnings[0]
    assert found(model, "series5_t1", "series7_flair").warnings == ()
    assert found(model, "301_t1", "302_flair").warnings == ()
    assert (
        "different examinations"
        in found(model, "BraTS-GLI-00005-000-t1n", "BraTS-GLI-00005-001-t2f").warnings[0]
    )


def write_mr(folder: Path, description: str, patient: str, seed: int, study_uid: str | None = None) -> Path:
    write_series(folder, noise(seed).round(), GRID, description=description, study_uid=study_uid)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.Modality, dataset.PatientID = "MR", patient
        dataset.save_as(file)
    return folder


def test_the_header_of_dicom_is_checked_on_the_command_line(run, two, tmp_path):
    t1 = write_mr(tmp_path / "1", "t1_mprage", "4711", 0)
    flair = write_mr(tmp_path / "2", "flair", "4711", 1)
    code, document = run(two, t1, flair)
    assert code == 0 and "different studies" in document["warning"]
    code, document = run(two, flair, t1)
    assert code == 2 and '"2" seems to be FLAIR, not T1' in document["message"]
    code, document = run(two, t1, write_mr(tmp_path / "3", "flair", "4712", 1))
    assert code == 2 and "different patients" in document["message"]


def test_images_of_other_places_are_refused_and_tilted_ones_warned_of(two, tmp_path):
    model = tiny_model(channels=(T1, FLAIR))
    turned = Geometry(GRID.size, GRID.spacing, GRID.origin, (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    inputs = [
        InputImage(ImageDescription("t1"), GRID, sample_of(noise())),
        InputImage(ImageDescription("flair"), turned, sample_of(noise(1))),
    ]
    assert (
        '"flair" is tilted by 37° against "t1": are they registered?' in check_inputs(model, inputs).warnings
    )
    away = replace(GRID, origin=(500.0, 0.0, 0.0))
    with pytest.raises(Exception, match="covers 0%"):
        segment([Volume(noise()[None], GRID), Volume(noise(1)[None], away)], two, device="cpu", threads=1)


def test_the_engine_checks_volumes_of_one_and_of_several_channels_alike(two, tmp_path):
    t1, flair = add_image(tmp_path / "t1.nii.gz"), add_image(tmp_path / "flair.nii.gz", 1)
    with pytest.raises(SuspectInputError, match="in this order"):
        segment(read_channels([flair, t1]), two, device="cpu", threads=1)
    with pytest.raises(SuspectInputError, match="in this order"):
        segment([read_volume(flair), read_volume(t1)], two, device="cpu", threads=1)
    assert segment(read_channels([flair, t1]), two, device="cpu", threads=1, insist=True).provenance[
        "warning"
    ]


def test_a_batch_writes_the_doubts_into_its_report(ct, tmp_path):
    add_image(tmp_path / "in" / "a.nii.gz", voxels=(CHEST + 1024).astype(np.int16))
    add_image(tmp_path / "in" / "flair.nii.gz")
    arguments = ["segment-folder", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(ct.path)]
    assert main([*arguments, "--device", "cpu", "--threads", "1"]) == 3
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows["a"]["status"] == "done" and "Subtract the offset" in rows["a"]["warning"]
    assert rows["flair"]["error"] == "SuspectInputError"
    assert main([*arguments, "--device", "cpu", "--threads", "1", "--insist"]) == 0


def test_a_batch_gives_programs_a_report_on_all_cases_if_one_failed(ct, tmp_path, capsys):
    add_image(tmp_path / "in" / "a.nii.gz", voxels=(CHEST + 1024).astype(np.int16))
    add_image(tmp_path / "in" / "flair.nii.gz")
    places = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(ct.path)]
    assert main(["segment-folder", *places, "--device", "cpu", "--threads", "1", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["error"]) == (False, "IncompleteBatchError")
    done, failed = document["cases"]
    assert "Subtract the offset" in done["warning"] and "not CT" in failed["message"]


@pytest.mark.real_data
def test_real_images_in_the_right_place_give_no_warning(real_data):
    folder = real_data / "brain_mr_4ch"
    images = {
        kind: inputs_of(read_volume(folder / f"BraTS-MET-00110-000-{kind}.nii.gz"))[0]
        for kind in ("t1n", "t1c", "t2w", "t2f")
    }
    assert check_inputs(BRATS, list(images.values())).warnings == ()
    for order in itertools.permutations(images):
        findings = check_inputs(BRATS, [images[kind] for kind in order])
        assert bool(certain(findings)) == (order != tuple(images)), order
    model = replace(CT_MODEL, spacing=None)
    assert check_inputs(model, inputs_of(read_volume(real_data / "abdomen_ct/ct.nii.gz"))).warnings == ()


def test_a_batch_checks_the_headers_of_dicom(two, tmp_path):
    for number, kind in enumerate(("t1_mprage", "flair")):
        write_mr(tmp_path / "in" / kind, kind, "4711", number, study_uid="1.2.3.4")
    arguments = ["segment-folder", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(two.path)]
    assert main([*arguments, "--device", "cpu", "--threads", "1"]) == 0
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert "different frames of reference" in row["warning"]


def test_the_check_of_a_large_image_reads_few_of_its_voxels():
    array = np.lib.stride_tricks.as_strided(np.arange(512, dtype=np.int16), (2000, 512, 512), (0, 0, 2))
    volume = Volume(array[None], Geometry((512, 512, 2000), (1.0, 1.0, 1.0)))
    (each,) = inputs_of(volume)
    assert each.sample.values.size < 100_000 and not each.sample.complete
