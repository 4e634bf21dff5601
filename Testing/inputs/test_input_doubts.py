"""Images that do not fit the model are warned of, and refused if certainly wrong."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fixtures.batch.cases import noise
from fixtures.models.bundles import tiny_model
from fixtures.models.channels import BRATS, CHEST, CT_MODEL, FLAIR, GRID, T1
from mednext import read_volume
from mednext.images.description.image_description import ImageDescription
from mednext.images.description.patient_names import patient_in, session_in
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inputs.input_doubts import Findings, InputImage, check_inputs, inputs_of
from mednext.inputs.voxel_sample import sample_of
from mednext.model.description import Channel, Model


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
def test_values_that_are_not_hounsfield_units_are_warned_of(voxels, words):
    (warning,) = found(CT_MODEL, "scan", voxels=[voxels.astype(np.float32)]).warnings
    assert words in warning


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


def test_the_check_of_a_large_image_reads_few_of_its_voxels():
    array = np.lib.stride_tricks.as_strided(np.arange(512, dtype=np.int16), (2000, 512, 512), (0, 0, 2))
    volume = Volume(array[None], Geometry((512, 512, 2000), (1.0, 1.0, 1.0)))
    (each,) = inputs_of(volume)
    assert each.sample.values.size < 100_000 and not each.sample.complete
