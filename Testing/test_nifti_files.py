"""NIfTI files that ITK would misread are refused, and odd ones that are right are read."""

from __future__ import annotations

import gzip
import struct

import nibabel
import numpy as np
import pytest
from mednext.errors import GeometryError, UnreadableImageError, UnsupportedImageError
from mednext.volume import read_volume
from refusals import noise, refused, written

PIXDIM, QFORM_CODE = 76, 252  # offsets in a NIfTI-1 header


def patched(path, offset, form, *values):
    """Overwrite fields of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


def test_a_damaged_byte_in_a_compressed_nifti(tmp_path):
    path = written(tmp_path / "image.nii.gz")
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    refused(path, UnreadableImageError, "copy it again")


def test_an_archive_with_the_suffix_of_an_image(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(b"no header in here" * 100))
    refused(path, UnreadableImageError, "no NIfTI header")


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_spacing_that_itk_would_replace_in_nifti(tmp_path, spacing):
    path = patched(written(tmp_path / "image.nii"), PIXDIM + 4, "<f", spacing)
    refused(path, UnsupportedImageError, f"impossible spacing ({spacing:g}", "correct its header")


def test_a_sheared_nifti(tmp_path):
    path = tmp_path / "sheared.nii.gz"
    affine = np.eye(4)
    affine[0, 1] = 0.5
    image = nibabel.Nifti1Image(noise(), affine)
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    nibabel.save(image, path)
    refused(path, GeometryError, "sheared", "resample")


def test_a_degenerate_sform(tmp_path):
    path = written(tmp_path / "image.nii")
    patched(path, 280, "<4f", 0, 0, 0, 0)
    refused(patched(path, QFORM_CODE, "<h", 0), GeometryError, "degenerate sform")


@pytest.mark.parametrize(
    ("offset", "values"),
    [(256, (0.9, 0.9, 0.9)), (256, (float("nan"), 0, 0)), (268, (0, float("inf"), 0))],
    ids=["quaternion too long", "quaternion no number", "position no number"],
)
def test_an_impossible_qform_that_itk_would_replace(tmp_path, offset, values):
    path = patched(written(tmp_path / "image.nii"), offset, "<3f", *values)
    refused(path, GeometryError, "impossible qform", "correct its header")


def test_a_position_by_sform_that_is_no_number(tmp_path):
    path = patched(written(tmp_path / "image.nii"), 292, "<f", float("nan"))
    refused(path, GeometryError, "degenerate sform")


def test_voxels_that_would_begin_within_the_header(tmp_path):
    path = patched(written(tmp_path / "image.nii"), 108, "<f", 0)
    refused(path, UnreadableImageError, "voxels at byte 0")


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


def test_a_nifti_of_two_files(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(noise(), np.eye(4)), tmp_path / "image.hdr")
    refused(tmp_path / "image.hdr", UnreadableImageError, "pair of files", "one .nii")


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
