"""Bad input: refused with a sentence that names the value and the remedy, leaving nothing behind."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import write_series
from mednext.errors import (
    DiskSpaceError,
    GeometryError,
    MedNeXtError,
    OutputError,
    UnreadableImageError,
    UnsupportedImageError,
)
from mednext.geometry import Geometry
from mednext.volume import Volume, check_volume, read_volume, write_image

GRID = Geometry((12, 11, 10), (1, 1, 2))
PIXDIM, QFORM_CODE = 76, 252  # offsets in a NIfTI-1 header


def noise(shape=GRID.shape):
    return np.random.default_rng(0).normal(100, 30, size=shape).astype(np.float32)


def written(path, array=None, geometry=GRID):
    write_image(path, noise() if array is None else array, geometry)
    return path


def patched(path, offset, form, *values):
    """Overwrite fields of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


def nrrd(path, directions="(1,0,0) (0,1,0) (0,0,1)", space="space: left-posterior-superior\n"):
    header = (
        f"NRRD0004\ntype: float\ndimension: 3\n{space}sizes: 4 4 4\nspace directions: {directions}\n"
        "endian: little\nencoding: raw\n\n"
    )
    path.write_bytes(header.encode() + np.arange(64, dtype="<f4").tobytes())
    return path


def refused(path, error, *said):
    """The path is refused with this class, in at most two sentences on one line, naming what is expected."""
    with pytest.raises(error) as caught:
        read_volume(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert Path(path).name in message
    for part in said:
        assert part in message


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "dcm"])
def test_an_empty_file(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    path.touch()
    refused(path, UnreadableImageError, "0 bytes", "copy it again")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_truncated_file(tmp_path, suffix, kept):
    path = written(tmp_path / f"image.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path, MedNeXtError)


def test_a_damaged_byte_in_a_compressed_nifti(tmp_path):
    path = written(tmp_path / "image.nii.gz")
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    refused(path, UnreadableImageError, "copy it again")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "dcm", "xyz"])
def test_a_text_file_with_the_suffix_of_an_image(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    path.write_text("This is not an image, whatever its name says. " * 50)
    refused(path, UnreadableImageError)


def test_an_archive_with_the_suffix_of_an_image(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(b"no header in here" * 100))
    refused(path, UnreadableImageError, "no NIfTI header")


def test_a_missing_file(tmp_path):
    refused(tmp_path / "nowhere.nii.gz", UnreadableImageError, "does not exist")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may read everything, and Windows has no modes",
)
def test_a_file_without_permission(tmp_path):
    path = written(tmp_path / "image.nii.gz")
    path.chmod(0)
    refused(path, UnreadableImageError, "Permission denied")


def test_a_file_that_the_system_refuses_to_open(tmp_path, monkeypatch):
    path = written(tmp_path / "image.nii.gz")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    refused(path, UnreadableImageError, "Permission denied")


def test_a_name_that_is_too_long_for_the_system(tmp_path):
    refused(tmp_path / f"{'n' * 300}.nii", UnreadableImageError, "too long")


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "png"])
def test_a_flat_image(tmp_path, suffix):
    path = tmp_path / f"slice.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise((11, 12)).astype(np.uint8)), path)
    refused(path, UnsupportedImageError, "12 x 11", "give a volume")


def test_a_volume_of_one_slice(tmp_path):
    path = written(tmp_path / "slice.nii.gz", noise((1, 11, 12)), Geometry((12, 11, 1), (1, 1, 1)))
    refused(path, UnsupportedImageError, "12 x 11", "give a volume")


def test_a_single_dicom_slice(tmp_path):
    write_series(tmp_path, noise((1, 11, 12)), Geometry((12, 11, 1), (1, 1, 1)))
    (file,) = tmp_path.iterdir()
    refused(file, UnsupportedImageError, "the folder")
    refused_folder = pytest.raises(UnsupportedImageError, match="the folder")
    with refused_folder:
        read_volume(tmp_path)


def test_a_time_series(tmp_path):
    path = tmp_path / "dynamic.nii.gz"
    nibabel.save(nibabel.Nifti1Image(noise((12, 11, 10, 5)), np.eye(4)), path)
    refused(path, UnsupportedImageError, "5 volumes", "extract one")


def test_a_fourth_axis_with_one_volume_is_no_time_series(tmp_path):
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(noise((12, 11, 10, 1)), np.eye(4)), path)
    assert read_volume(path).array.shape == (1, 10, 11, 12)


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "mha"])
def test_colours_and_vectors(tmp_path, suffix):
    path = tmp_path / f"colour.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise((10, 11, 12, 3)).astype(np.uint8), isVector=True), path)
    refused(path, UnsupportedImageError, "3 values per voxel", "scalar")


def test_complex_voxels(tmp_path):
    path = tmp_path / "kspace.nii.gz"
    nibabel.save(nibabel.Nifti1Image((noise() + 1j).astype(np.complex64), np.eye(4)), path)
    refused(path, UnsupportedImageError, "complex", "magnitude")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_voxels_are_counted(tmp_path, value):
    array = noise()
    array[2, 3, 4:7] = value
    refused(written(tmp_path / "image.nrrd", array), UnsupportedImageError, "3 NaN or infinite", "replace")


def test_a_value_that_float32_cannot_hold(tmp_path):
    array = noise().astype(np.float64)
    array[0, 0, 0] = -1e300
    refused(written(tmp_path / "image.nrrd", array), UnsupportedImageError, "1e+300", "rescale")


@pytest.mark.parametrize("value", [0, -1024])
def test_a_constant_image(tmp_path, value):
    path = written(tmp_path / "image.nii.gz", np.full(GRID.shape, value, np.float32))
    refused(path, UnsupportedImageError, f"{value} everywhere", "contrast")


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_spacing_that_itk_would_replace_in_nifti(tmp_path, spacing):
    path = patched(written(tmp_path / "image.nii"), PIXDIM + 4, "<f", spacing)
    refused(path, UnsupportedImageError, f"impossible spacing ({spacing:g}", "correct its header")


@pytest.mark.parametrize("spacing", [1e6, 0.001])
@pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
def test_an_absurd_spacing(tmp_path, suffix, spacing):
    path = written(tmp_path / f"image.{suffix}", geometry=Geometry(GRID.size, (1, spacing, 1)))
    refused(path, UnsupportedImageError, f"{spacing:g}", "0.01 to 100 mm", "correct its header")


def test_a_spacing_of_zero_in_nrrd(tmp_path):
    refused(nrrd(tmp_path / "a.nrrd", "(0,0,0) (0,1,0) (0,0,1)"), MedNeXtError, "spacing (0, 1, 1) mm")


def test_a_spacing_of_zero_in_metaimage(tmp_path):
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementSpacing = 1 0 1\nDimSize = 4 4 4\n"
        "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    path = tmp_path / "image.mha"
    path.write_bytes(header.encode() + bytes(range(64)))
    refused(path, UnsupportedImageError, "spacing (1, 0, 1) mm")


def test_a_sheared_nifti(tmp_path):
    path = tmp_path / "sheared.nii.gz"
    affine = np.eye(4)
    affine[0, 1] = 0.5
    image = nibabel.Nifti1Image(noise(), affine)
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    nibabel.save(image, path)
    refused(path, GeometryError, "sheared", "resample")


def test_a_sheared_nrrd(tmp_path):
    refused(nrrd(tmp_path / "a.nrrd", "(1,0,0) (0.5,1,0) (0,0,1)"), GeometryError, "sheared", "resample")


def test_a_degenerate_nrrd(tmp_path):
    refused(nrrd(tmp_path / "a.nrrd", "(1,0,0) (1,0,0) (0,0,1)"), GeometryError, "degenerate", "resample")


def test_a_degenerate_sform(tmp_path):
    path = written(tmp_path / "image.nii")
    patched(path, 280, "<4f", 0, 0, 0, 0)
    refused(patched(path, QFORM_CODE, "<h", 0), GeometryError, "degenerate sform")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_nifti_that_does_not_say_where_left_is(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    nibabel.save(nibabel.Nifti1Image(noise(), None), path)
    refused(path, GeometryError, "left and right", "qform_code and sform_code are 0")


def test_a_nifti_whose_two_transforms_disagree_about_the_sides(tmp_path):
    path = tmp_path / "image.nii"
    image = nibabel.Nifti1Image(noise(), np.diag([-1, 1, 1, 1]))
    image.set_sform(np.diag([-1, 1, 1, 1]), 1)
    image.set_qform(np.diag([1, 1, 1, 1]), 1)
    nibabel.save(image, path)
    refused(path, GeometryError, "RAS by qform and LAS by sform")


def test_a_nifti_whose_two_spacings_disagree(tmp_path):
    path = tmp_path / "image.nii"
    nibabel.save(nibabel.Nifti1Image(noise(), np.diag([2, 2, 2, 1])), path)
    refused(patched(path, PIXDIM + 4, "<f", 1.0), GeometryError, "by pixdim", "by sform")


def test_a_nifti_with_a_scaled_transform_to_an_atlas_is_read_by_its_qform(tmp_path):
    path = tmp_path / "image.nii"
    image = nibabel.Nifti1Image(noise(), np.diag([2, 2, 2, 1]))
    image.set_qform(np.diag([2, 2, 2, 1]), 1)
    image.set_sform(np.diag([2.3, 2.4, 2.2, 1]), 4)
    nibabel.save(image, path)
    assert read_volume(path).geometry.spacing == (2, 2, 2)


def test_an_analyze_image(tmp_path):
    path = tmp_path / "image.hdr"
    nibabel.save(nibabel.AnalyzeImage(noise(), np.eye(4)), path)
    refused(path, UnreadableImageError, "Analyze", "where left is")


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_of_nifti_are_read(tmp_path, order):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noise().T, np.diag([1, 1, 2, 1]), header), tmp_path / "image.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "image.nii").array[0], noise())


def test_the_second_version_of_nifti_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti2Image(noise(), np.eye(4)), tmp_path / "image.nii")
    refused(tmp_path / "image.nii", UnreadableImageError, "NIfTI-2", "save it as")


def test_a_nrrd_that_does_not_say_where_left_is(tmp_path):
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nspacings: 1 1 1\nencoding: raw\n\n"
    path = tmp_path / "image.nrrd"
    path.write_bytes(header.encode() + bytes(range(64)))
    refused(path, GeometryError, "left and right")


def test_a_nrrd_in_the_scanners_space(tmp_path):
    refused(nrrd(tmp_path / "a.nrrd", space="space: scanner-xyz\n"), GeometryError, "scanner-xyz")


def labels_like(shape=(40, 40, 40), count=3):
    """Balls with the values 1 to `count` on 0."""
    z, y, x = np.indices(shape)
    array = np.zeros(shape, np.float32)
    for value, centre in enumerate(np.linspace(4, shape[2] - 5, count), start=1):
        array[(x - centre) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 < 150] = value
    return array


@pytest.mark.parametrize("count", [1, 3, 13, 20])
def test_a_label_image(tmp_path, count):
    path = tmp_path / "labels.nii.gz"
    shape = (40, 40, 26 * count)
    write_image(path, labels_like(shape, count).astype(np.uint8), Geometry(shape[::-1], (1, 1, 1)))
    refused(path, UnsupportedImageError, "label image", f"from 0 to {count}")


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
def test_an_image_of_whole_numbers_is_no_label_image(array):
    check_volume(Volume(array[np.newaxis].astype(np.float32), Geometry(array.shape[::-1], (1, 1, 1))))


@pytest.mark.real_data
def test_real_images_are_told_from_real_labels(real_data):
    for image in ("abdomen_ct/ct.nii.gz", "hippocampus/images/hippocampus_075.nii.gz"):
        read_volume(real_data / image)
    for labels in (
        "abdomen_ct/totalsegmentator_labels.nii.gz",
        "hippocampus/labels/hippocampus_075.nii.gz",
        "brain_tumour/brats_2013_pat0001_1/OTMultiClass.nii.gz",
    ):
        with pytest.raises(UnsupportedImageError, match="label image"):
            read_volume(real_data / labels)


def test_the_bad_channel_is_named():
    array = np.stack([noise(), noise()])
    array[1, 0, 0, 0] = np.nan
    with pytest.raises(UnsupportedImageError, match=r"FLAIR has 1 NaN"):
        check_volume(Volume(array, GRID, ("T1", "FLAIR")))
    with pytest.raises(UnsupportedImageError, match="channel 2 has 1 NaN"):
        check_volume(Volume(array, GRID))


@pytest.mark.parametrize("which", [0, 3, -1])
@pytest.mark.parametrize("kept", [-200, 600])
def test_a_damaged_dicom_file_is_named_wherever_it_lies(tmp_path, which, kept):
    write_series(tmp_path, noise().round(), GRID)
    file = sorted(tmp_path.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)[which]
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UnreadableImageError, match=f"{file.name} is a damaged DICOM file"):
        read_volume(tmp_path)


@pytest.mark.parametrize("name", ["labels.xyz", "labels", "labels.mhd", "labels.nhdr", "labels.hdr"])
def test_an_unknown_format_is_not_written(tmp_path, name):
    with pytest.raises(OutputError, match=r"use one of \.nii\.gz, \.nii, \.nrrd, \.mha"):
        write_image(tmp_path / name, noise(), GRID)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "labels.nii.gz").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_image(tmp_path / "labels.nii.gz", noise(), GRID)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"results does not exist: make it first"):
        write_image(tmp_path / "results" / "labels.nii.gz", noise(), GRID)


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(OutputError, match=r"results does not exist: make it first"):
        write_image(tmp_path / "results" / "labels.nii.gz", noise(), GRID)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may write everywhere, and Windows has no modes",
)
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_image(tmp_path / "labels.nii.gz", noise(), GRID)
    tmp_path.chmod(0o700)


def test_an_array_off_the_grid_is_not_written(tmp_path):
    with pytest.raises(GeometryError, match="is not on a grid"):
        write_image(tmp_path / "labels.nii.gz", noise((3, 4, 5)), GRID)
    assert not list(tmp_path.iterdir())


LIMITED = """
import resource, sys
import numpy as np
from mednext.errors import MedNeXtError
from mednext.geometry import Geometry
from mednext.volume import write_image
array = np.random.default_rng(0).normal(size=(40, 40, 40))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_image(sys.argv[1], array, Geometry((40, 40, 40), (1, 1, 1)))
except MedNeXtError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha"])
def test_when_there_is_no_room_the_old_file_stays_and_nothing_else(tmp_path, suffix):
    pytest.importorskip("resource", reason="Windows has no limits on the size of a file")
    path = tmp_path / f"labels.{suffix}"
    path.write_text("yesterday's result")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.startswith((OutputError.__name__, DiskSpaceError.__name__))
    assert str(path) in run.stdout
    assert "space" in run.stdout
    assert path.read_text() == "yesterday's result"
    assert list(tmp_path.iterdir()) == [path]
