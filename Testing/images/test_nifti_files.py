"""NIfTI files that ITK would misread are refused; odd but correct ones are read."""

from __future__ import annotations

import gzip
import struct

import nibabel
import numpy as np
import pytest
from fixtures.images.refusals import noise, refused, written
from mednext.errors import GeometryError, UnreadableImageError, UnsupportedImageError
from mednext.images.volume import read_volume

DIM, DATATYPE, BITPIX, PIXDIM, SCL, UNITS, QFORM_CODE = 40, 70, 72, 76, 112, 123, 252  # offsets in a header


def patched(path, offset, form, *values):
    """Overwrite fields of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


def test_a_damaged_byte_in_a_compressed_nifti_is_found(tmp_path):
    path = written(tmp_path / "image.nii.gz")
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    refused(path, UnreadableImageError, "copy it again")


def test_an_archive_with_the_suffix_of_an_image_is_refused(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(b"no header in here" * 100))
    refused(path, UnreadableImageError, "no NIfTI header")


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_spacing_that_itk_would_replace_is_refused(tmp_path, spacing):
    path = patched(written(tmp_path / "image.nii"), PIXDIM + 4, "<f", spacing)
    refused(path, UnsupportedImageError, f"impossible spacing ({spacing:g}", "correct its header")


def test_a_sheared_nifti_is_refused(tmp_path):
    path = tmp_path / "sheared.nii.gz"
    affine = np.eye(4)
    affine[0, 1] = 0.5
    image = nibabel.Nifti1Image(noise(), affine)
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    nibabel.save(image, path)
    refused(path, GeometryError, "sheared", "resample")


def test_a_degenerate_sform_is_refused(tmp_path):
    path = written(tmp_path / "image.nii")
    patched(path, 280, "<4f", 0, 0, 0, 0)
    refused(patched(path, QFORM_CODE, "<h", 0), GeometryError, "degenerate sform")


@pytest.mark.parametrize(
    ("offset", "values"),
    [(256, (0.9, 0.9, 0.9)), (256, (float("nan"), 0, 0)), (268, (0, float("inf"), 0))],
    ids=["quaternion too long", "quaternion no number", "position no number"],
)
def test_an_impossible_qform_that_itk_would_replace_is_refused(tmp_path, offset, values):
    path = patched(written(tmp_path / "image.nii"), offset, "<3f", *values)
    refused(path, GeometryError, "impossible qform", "correct its header")


def test_a_position_by_sform_that_is_not_a_number_is_refused(tmp_path):
    path = patched(written(tmp_path / "image.nii"), 292, "<f", float("nan"))
    refused(path, GeometryError, "degenerate sform")


@pytest.mark.parametrize("start", [0, 348, 351])
def test_voxels_that_would_begin_within_the_header_are_refused(tmp_path, start):
    """Four bytes after the header would become voxels, and all others would be shifted."""
    path = patched(written(tmp_path / "image.nii"), 108, "<f", start)
    refused(path, UnreadableImageError, f"voxels at byte {start}", "352")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_nifti_that_does_not_say_where_left_is_is_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    nibabel.save(nibabel.Nifti1Image(noise(), None), path)
    refused(path, GeometryError, "left and right", "qform_code and sform_code are 0")


def test_a_nifti_whose_two_transforms_disagree_about_the_sides_is_refused(tmp_path):
    path = tmp_path / "image.nii"
    image = nibabel.Nifti1Image(noise(), np.diag([-1, 1, 1, 1]))
    image.set_sform(np.diag([-1, 1, 1, 1]), 1)
    image.set_qform(np.diag([1, 1, 1, 1]), 1)
    nibabel.save(image, path)
    refused(path, GeometryError, "RAS by qform and LAS by sform")


def test_a_nifti_whose_two_spacings_disagree_is_refused(tmp_path):
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


def test_a_nifti_of_two_files_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(noise(), np.eye(4)), tmp_path / "image.hdr")
    refused(tmp_path / "image.hdr", UnreadableImageError, "pair of files", "one .nii")


def test_an_analyze_image_is_refused(tmp_path):
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


def ct():
    return np.random.default_rng(0).normal(0, 300, (10, 11, 12)).astype(np.int16)


def test_slope_and_intercept_are_applied(tmp_path):
    path = patched(written(tmp_path / "image.nii", ct()), SCL, "<2f", 2, -1024)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], 2.0 * ct() - 1024)
    assert volume.warnings == ()


@pytest.mark.parametrize("slope", [0, np.nan])
def test_without_a_slope_the_intercept_is_left_out_with_a_warning(tmp_path, slope):
    volume = read_volume(patched(written(tmp_path / "image.nii", ct()), SCL, "<2f", slope, -1024))
    np.testing.assert_array_equal(volume.array[0], ct())
    assert volume.array.dtype == np.int16
    assert "scl_inter -1024, but scl_slope" in volume.warnings[0]


@pytest.mark.parametrize("scale", [(0, 0), (np.nan, np.nan), (1, 0), (0, np.nan)])
def test_voxels_that_are_not_scaled_may_be_marked_in_the_usual_ways(tmp_path, scale):
    volume = read_volume(patched(written(tmp_path / "image.nii", ct()), SCL, "<2f", *scale))
    np.testing.assert_array_equal(volume.array[0], ct())
    assert volume.warnings == ()


@pytest.mark.parametrize("scale", [(1, np.nan), (np.inf, 0), (1, np.inf)])
def test_an_impossible_scale_is_refused(tmp_path, scale):
    path = patched(written(tmp_path / "image.nii", ct()), SCL, "<2f", *scale)
    refused(path, UnsupportedImageError, "scl_slope, scl_inter", "correct its header")


@pytest.mark.parametrize("bits", [0, 8, 32])
def test_wrong_bits_per_voxel_are_warned_of_and_the_type_decides(tmp_path, bits):
    volume = read_volume(patched(written(tmp_path / "image.nii", ct()), BITPIX, "<h", bits))
    np.testing.assert_array_equal(volume.array[0], ct())
    assert f"has {bits} bits; 16 were read" in volume.warnings[0]


def test_a_type_that_does_not_fit_the_amount_of_voxels_is_refused(tmp_path):
    image = written(tmp_path / "image.nii", ct())
    refused(patched(image, DATATYPE, "<2h", 16, 32), UnreadableImageError, "truncated")
    refused(patched(image, DATATYPE, "<2h", 2, 8), UnreadableImageError, "more than the header")
    refused(patched(image, DATATYPE, "<2h", 1, 1), UnsupportedImageError, "NIfTI type 1")


def test_a_count_of_zero_volumes_is_read_as_one_if_the_file_has_one(tmp_path):
    volume = read_volume(
        patched(written(tmp_path / "image.nii", ct()), DIM, "<8h", 4, 12, 11, 10, 0, 0, 0, 0)
    )
    np.testing.assert_array_equal(volume.array[0], ct())
    assert "counts 0 volumes" in volume.warnings[0]


@pytest.mark.parametrize("dim", [(4, 12, 11, 5, 0), (3, 12, 11, 5, 2), (3, 12, 10, 10, 1), (4, 12, 5, 10, 1)])
def test_a_file_of_more_voxels_than_its_header_says_is_refused(tmp_path, dim):
    path = patched(written(tmp_path / "image.nii", ct()), DIM, "<5h", *dim)
    refused(path, UnreadableImageError, "more than the header", "its header is wrong")


@pytest.mark.parametrize("dim", [(3, 12, 11, 20), (3, 12, 11, 32767), (3, 32767, 32767, 32767)])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_header_that_claims_more_voxels_than_the_file_has_is_refused(tmp_path, dim, suffix):
    path = patched(written(tmp_path / "image.nii", ct()), DIM, "<4h", *dim)
    if suffix == "nii.gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    refused(path, UnreadableImageError, "truncated")


@pytest.mark.parametrize("dim", [(3, 12, -11, 10), (3, 0, 11, 10), (4, 12, 11, 10, -1)])
def test_an_impossible_size_is_refused(tmp_path, dim):
    path = patched(written(tmp_path / "image.nii", ct()), DIM, f"<{len(dim)}h", *dim)
    refused(path, UnsupportedImageError, "impossible size")


@pytest.mark.parametrize("count", [0, -1, 8, 100])
def test_an_impossible_number_of_dimensions_is_refused(tmp_path, count):
    refused(patched(written(tmp_path / "image.nii"), DIM, "<h", count), UnreadableImageError, "no dimensions")


@pytest.mark.parametrize(("unit", "mm"), [(1, 1000), (2, 1), (3, 0.001), (0, 1), (10, 1)])
def test_units_of_length_are_converted(tmp_path, unit, mm):
    spacing = [length / mm for length in (1, 1, 2)]
    image = nibabel.Nifti1Image(noise().T, np.diag([*spacing, 1]))
    image.header["xyzt_units"] = unit
    nibabel.save(image, tmp_path / "image.nii")
    volume = read_volume(tmp_path / "image.nii")
    np.testing.assert_allclose(volume.geometry.spacing, (1, 1, 2), rtol=1e-6)
    assert volume.warnings == ()


@pytest.mark.parametrize("unit", [4, 5, 7])
def test_an_unknown_unit_of_length_is_refused(tmp_path, unit):
    path = patched(written(tmp_path / "image.nii"), UNITS, "B", unit)
    refused(path, UnsupportedImageError, f"unknown unit {unit}", "correct its header")


@pytest.mark.parametrize("spacing", [0.05, 50])
def test_without_a_unit_an_odd_size_is_warned_of(tmp_path, spacing):
    shape = (70, 70, 70)
    image = nibabel.Nifti1Image(noise(shape), np.diag([spacing, spacing, spacing, 1]))
    nibabel.save(image, tmp_path / "image.nii")
    (warning,) = read_volume(tmp_path / "image.nii").warnings
    assert "does not say the unit of its spacing" in warning


def test_a_few_bytes_after_the_voxels_are_warned_of(tmp_path):
    path = written(tmp_path / "image.nii")
    path.write_bytes(path.read_bytes() + b"end")
    assert "3 bytes more" in read_volume(path).warnings[0]
