"""Bad images are refused with a sentence that names the value and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from fixtures.images.refusals import GRID, noise, refused, written
from mednext.errors import (
    GeometryError,
    MedNeXtError,
    SuspectInputError,
    UnreadableImageError,
    UnsupportedImageError,
)
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume, check_volume, read_volume, write_image


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "dcm"])
def test_an_empty_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    path.touch()
    refused(path, UnreadableImageError, "0 bytes", "copy it again")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, suffix, kept):
    path = written(tmp_path / f"image.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path, MedNeXtError)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "dcm", "xyz"])
def test_a_text_file_with_the_suffix_of_an_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    path.write_text("This is not an image, whatever its name says. " * 50)
    refused(path, UnreadableImageError)


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "nowhere.nii.gz", UnreadableImageError, "does not exist")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may read everything, and Windows has no modes",
)
def test_a_file_without_permission_is_refused(tmp_path):
    path = written(tmp_path / "image.nii.gz")
    path.chmod(0)
    refused(path, UnreadableImageError, "Permission denied")


def test_a_file_that_the_system_refuses_to_open_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path / "image.nii.gz")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    refused(path, UnreadableImageError, "Permission denied")


def test_a_name_that_is_too_long_for_the_system_is_refused(tmp_path):
    refused(tmp_path / f"{'n' * 300}.nii", UnreadableImageError, "too long")


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_a_flat_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"slice.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise((11, 12)).astype(np.uint8)), path)
    refused(path, UnsupportedImageError, "12 x 11", "give a volume")


def test_a_volume_of_one_slice_is_refused(tmp_path):
    path = written(tmp_path / "slice.nii.gz", noise((1, 11, 12)), Geometry((12, 11, 1), (1, 1, 1)))
    refused(path, UnsupportedImageError, "12 x 11", "give a volume")


def test_a_single_dicom_slice_is_refused(tmp_path):
    write_series(tmp_path, noise((1, 11, 12)), Geometry((12, 11, 1), (1, 1, 1)))
    (file,) = tmp_path.iterdir()
    refused(file, UnsupportedImageError, "the folder")
    with pytest.raises(UnsupportedImageError, match="the folder"):
        read_volume(tmp_path)


def test_a_dicom_file_of_several_frames_is_refused(tmp_path):
    write_series(tmp_path, noise((1, 11, 12)).round(), Geometry((12, 11, 1), (1, 1, 1)))
    (file,) = tmp_path.iterdir()
    dataset = pydicom.dcmread(file)
    dataset.NumberOfFrames = 4
    dataset.PixelData *= 4
    dataset.save_as(file)
    for path in (file, tmp_path):
        with pytest.raises(UnsupportedImageError, match=r"DICOM file of 4 frames: convert it"):
            read_volume(path)


def test_a_series_with_slices_of_two_sizes_is_refused(tmp_path):
    write_series(tmp_path, noise().round(), GRID)
    dataset = pydicom.dcmread(next(tmp_path.iterdir()))
    dataset.Rows, dataset.PixelData = 5, dataset.PixelData[: 5 * 12 * 2]
    dataset.save_as(tmp_path / "odd")
    with pytest.raises(UnsupportedImageError, match=r"mixes slices of .* keep one kind"):
        read_volume(tmp_path)


def test_a_series_with_a_localizer_is_refused(tmp_path):
    write_series(tmp_path, noise().round(), GRID)
    dataset = pydicom.dcmread(next(tmp_path.iterdir()))
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.save_as(tmp_path / "localizer")
    with pytest.raises(GeometryError, match=r"different directions \(localizers\?\): remove"):
        read_volume(tmp_path)


def test_a_time_series_is_refused(tmp_path):
    path = tmp_path / "dynamic.nii.gz"
    nibabel.save(nibabel.Nifti1Image(noise((12, 11, 10, 5)), np.eye(4)), path)
    refused(path, UnsupportedImageError, "5 volumes", "extract one")


def test_a_fourth_axis_with_one_volume_is_not_a_time_series(tmp_path):
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(noise((12, 11, 10, 1)), np.eye(4)), path)
    assert read_volume(path).array.shape == (1, 10, 11, 12)


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "mha"])
def test_colours_and_vectors_are_refused(tmp_path, suffix):
    path = tmp_path / f"colour.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise((10, 11, 12, 3)).astype(np.uint8), isVector=True), path)
    refused(path, UnsupportedImageError, "3 values per voxel", "scalar")


def test_complex_voxels_are_refused(tmp_path):
    path = tmp_path / "kspace.nii.gz"
    nibabel.save(nibabel.Nifti1Image((noise() + 1j).astype(np.complex64), np.eye(4)), path)
    refused(path, UnsupportedImageError, "complex", "magnitude")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("nii", np.float64), ("nii.gz", np.float32), ("nrrd", np.float64), ("mha", np.float32)],
)
def test_nan_and_infinite_voxels_are_counted(tmp_path, suffix, dtype, value):
    path = tmp_path / f"image.{suffix}"
    array = noise((9, 11, 13)).astype(dtype)  # an odd number of voxels
    array[2, 3, 4] = array[2, 3, 5] = array[-1, -1, -1] = value
    if "nii" in suffix:  # ITK itself writes 0 for them
        nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4), dtype=dtype), path)
    else:
        write_image(path, array, Geometry((13, 11, 9), (1, 1, 1)))
    refused(path, SuspectInputError, "3 NaN or infinite", "replace", "insist")
    volume = read_volume(path, insist=True)
    numbers = array[np.isfinite(array)]
    assert volume.array[0, 2, 3, 4] == volume.array[0, -1, -1, -1] == numbers.min()
    assert np.array_equal(volume.array[0][np.isfinite(array)], numbers.astype(np.float32))
    assert volume.warnings == (
        f"{path.name} has 3 NaN or infinite voxels, which were taken as background, {numbers.min():g}.",
    )


def test_an_image_of_nan_only_is_refused_even_if_the_user_insists(tmp_path):
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((9, 10, 11), np.nan, np.float32), np.eye(4)), path)
    with pytest.raises(UnsupportedImageError, match="nothing but NaN"):
        read_volume(path, insist=True)


def test_an_image_with_few_values_is_read_when_the_user_insists(tmp_path):
    path = written(tmp_path / "counts.nii.gz", np.random.default_rng(0).poisson(1.2, GRID.shape) % 7)
    refused(path, SuspectInputError, "label image", "insist")
    volume = read_volume(path, insist=True)
    assert "counts.nii.gz looks like a label image" in volume.warnings[0]


def test_a_value_that_float32_cannot_hold_is_refused(tmp_path):
    array = noise().astype(np.float64)
    array[0, 0, 0] = -1e300
    refused(written(tmp_path / "image.nrrd", array), UnsupportedImageError, "1e+300", "rescale")


@pytest.mark.parametrize("value", [0, -1024])
def test_a_constant_image_is_refused(tmp_path, value):
    path = written(tmp_path / "image.nii.gz", np.full(GRID.shape, value, np.float32))
    refused(path, UnsupportedImageError, f"{value} everywhere", "contrast")


@pytest.mark.parametrize("spacing", [1e6, 0.001])
@pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
def test_an_absurd_spacing_is_refused(tmp_path, suffix, spacing):
    path = written(tmp_path / f"image.{suffix}", geometry=Geometry(GRID.size, (1, spacing, 1)))
    refused(path, UnsupportedImageError, f"{spacing:g}", "0.01 to 100 mm", "correct its header")


def labels_like(shape=(40, 40, 40), count=3):
    """Balls with the values 1 to `count` on 0."""
    z, y, x = np.indices(shape)
    array = np.zeros(shape, np.float32)
    for value, centre in enumerate(np.linspace(4, shape[2] - 5, count), start=1):
        array[(x - centre) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 < 150] = value
    return array


@pytest.mark.parametrize("count", [1, 3, 13, 20])
def test_a_label_image_is_refused(tmp_path, count):
    path = tmp_path / "labels.nii.gz"
    shape = (40, 40, 26 * count)
    write_image(path, labels_like(shape, count).astype(np.uint8), Geometry(shape[::-1], (1, 1, 1)))
    refused(path, SuspectInputError, "label image", f"from 0 to {count}", "insist")


@pytest.mark.parametrize(
    "array",
    [
        noise().round(),
        np.clip(noise().round(), 80, 120),  # 8 bit, saturated
        np.where(noise() > 100, noise().round(), 0),  # masked
        labels_like() + 0.25,  # a drawing, but no labels
        labels_like() - 1024,
    ],
    ids=["whole numbers", "saturated", "masked", "fractions", "negative"],
)
def test_an_image_of_whole_numbers_is_not_taken_for_a_label_image(array):
    check_volume(Volume(array[np.newaxis].astype(np.float32), Geometry(array.shape[::-1], (1, 1, 1))))


@pytest.mark.real_data
def test_real_images_are_distinguished_from_real_labels(real_data):
    for image in ("abdomen_ct/ct.nii.gz", "hippocampus/images/hippocampus_075.nii.gz"):
        read_volume(real_data / image)
    for labels in (
        "abdomen_ct/totalsegmentator_labels.nii.gz",
        "hippocampus/labels/hippocampus_075.nii.gz",
        "brain_tumour/brats_2013_pat0001_1/OTMultiClass.nii.gz",
    ):
        with pytest.raises(SuspectInputError, match="label image"):
            read_volume(real_data / labels)


def test_the_bad_channel_is_named():
    array = np.stack([noise(), noise()])
    array[1, 0, 0, 0] = np.nan
    with pytest.raises(SuspectInputError, match=r"FLAIR has 1 NaN"):
        check_volume(Volume(array, GRID, ("T1", "FLAIR")))
    with pytest.raises(SuspectInputError, match="channel 2 has 1 NaN"):
        check_volume(Volume(array, GRID))


@pytest.mark.parametrize("which", [0, 3, -1])
@pytest.mark.parametrize("kept", [-200, 600])
def test_a_damaged_dicom_file_is_named_wherever_it_lies(tmp_path, which, kept):
    write_series(tmp_path, noise().round(), GRID)
    file = sorted(tmp_path.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)[which]
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UnreadableImageError, match=f"{file.name} is a damaged DICOM file"):
        read_volume(tmp_path)
