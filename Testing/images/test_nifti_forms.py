"""A NIfTI file may give two places: one is used, with a warning, and both go into the result."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.images.geometries import geometries, rotation
from fixtures.images.refusals import noise, refused
from fixtures.models.bundles import tiny_bundle
from fixtures.worker.dialogue import write_request
from hypothesis import given, settings
from mednext.cli import main
from mednext.errors import GeometryError
from mednext.images.geometry import Geometry
from mednext.images.nifti_forms import both_forms
from mednext.images.source_image import SourceImage
from mednext.images.volume import read_channels, read_volume, write_image
from mednext.worker.protocol import Order, read_request

MOVED = np.array([[1, 0, 0, 30], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def nifti(path, qform, sform, codes=(1, 1), voxels=None):
    voxels = noise() if voxels is None else voxels
    image = nibabel.Nifti1Image(voxels.T, qform)
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def forms(path):
    header = nibabel.load(path).header
    return header.get_qform(), header.get_sform(), (int(header["qform_code"]), int(header["sform_code"]))


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (1, 4), (2, 1)])
def test_if_the_forms_disagree_the_sform_is_taken_with_a_warning(tmp_path, codes):
    volume = read_volume(nifti(tmp_path / "image.nii", np.eye(4), MOVED, codes))
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, MOVED)
    assert volume.warnings == (
        "The qform and the sform of image.nii lie up to 30 mm apart: its sform was taken.",
    )


def test_a_disagreement_below_half_a_voxel_is_not_warned_of(tmp_path):
    near = np.eye(4)
    near[0, 3] = 0.4
    volume = read_volume(nifti(tmp_path / "image.nii", np.eye(4), near))
    assert volume.warnings == ()
    np.testing.assert_allclose(volume.geometry.ijk_to_ras, near, atol=1e-6)


def test_a_small_turn_adds_up_to_more_than_half_a_voxel_at_the_far_end(tmp_path):
    turned = np.eye(4)
    turned[:3, :3] = rotation(0, 0, 5)
    assert "sform was taken" in read_volume(nifti(tmp_path / "image.nii", np.eye(4), turned)).warnings[0]


def test_a_channel_that_was_registered_through_its_sform_alone_is_used_registered(tmp_path):
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = rotation(4, -6, 8), (5, -3, 2)
    smooth = np.fromfunction(lambda z, y, x: np.sin(x / 3) + np.cos(y / 4) + np.sin(z / 5), (24, 26, 28))
    seen = sitk.GetImageFromArray(smooth)
    fixed = Geometry.from_ijk_to_ras(np.eye(4), (28, 26, 24))
    moving = Geometry.from_ijk_to_ras(turned, (28, 26, 24))
    grid = sitk.Image(28, 26, 24, sitk.sitkUInt8)
    for image, geometry in ((seen, fixed), (grid, moving)):
        image.SetOrigin(geometry.origin)
        image.SetDirection(geometry.direction)
    resampled = sitk.GetArrayFromImage(sitk.Resample(seen, grid, sitk.Transform(), sitk.sitkLinear, -9))
    first = nifti(tmp_path / "T1.nii", np.eye(4), np.eye(4), voxels=smooth)
    other = nifti(tmp_path / "T2.nii", np.eye(4), turned, (1, 2), voxels=resampled)
    volume = read_channels([first, other])
    inside = (slice(None), slice(8, 16), slice(9, 17), slice(10, 18))  # where both have voxels
    assert np.corrcoef(*volume.array[inside].reshape(2, -1))[0, 1] > 0.99
    assert "T2.nii lie up to" in volume.warnings[0]


@pytest.mark.parametrize("code", [3, 4, 5])
def test_an_sform_that_deforms_towards_an_atlas_is_not_followed_with_a_warning(tmp_path, code):
    atlas = np.diag([1.2, 1.1, 0.9, 1])
    volume = read_volume(nifti(tmp_path / "image.nii", np.eye(4), atlas, (1, code)))
    assert volume.geometry.spacing == (1, 1, 1)
    assert "its qform was taken, since its sform deforms it towards an atlas" in volume.warnings[0]


@pytest.mark.parametrize("code", [1, 2])
def test_an_sform_that_scales_without_an_atlas_is_refused(tmp_path, code):
    path = nifti(tmp_path / "image.nii", np.eye(4), np.diag([1.2, 1, 1, 1]), (1, code))
    refused(path, GeometryError, "by pixdim", "by sform")


def test_an_sform_that_shears_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[:3, 2] = 0, 0.3, np.sqrt(1 - 0.09)
    refused(
        nifti(tmp_path / "image.nii", np.eye(4), sheared), GeometryError, "sheared by its sform", "resample"
    )


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 0), (0, 3)])
def test_a_result_has_both_forms_of_its_image(tmp_path, codes, suffix):
    image = nifti(tmp_path / "image.nii", np.eye(4), MOVED, codes)
    geometry = read_volume(image).geometry
    write_image(tmp_path / f"labels.{suffix}", noise().astype(np.uint8), geometry)
    for before, after in zip(forms(image), forms(tmp_path / f"labels.{suffix}"), strict=True):
        np.testing.assert_array_equal(after, before)
    assert read_volume(tmp_path / f"labels.{suffix}", insist=True).geometry == geometry


def test_the_command_line_keeps_both_forms_and_warns_of_them(tmp_path, capsys):
    tiny_bundle(tmp_path / "tiny")
    image = nifti(tmp_path / "image.nii.gz", np.eye(4), MOVED, (1, 2), noise((24, 20, 16)))
    result = tmp_path / "labels.nii.gz"
    arguments = ["segment", image, "-o", result, "--model", tmp_path / "tiny", "--device", "cpu", "--json"]
    assert main([str(argument) for argument in arguments]) == 0
    warning = json.loads(capsys.readouterr().out)["provenance"]["warning"]
    assert "30 mm apart: its sform was taken" in warning
    for before, after in zip(forms(image), forms(result), strict=True):
        np.testing.assert_array_equal(after, before)


def test_forms_in_metres_are_written_in_mm(tmp_path):
    metres = np.diag([0.001, 0.001, 0.001, 1])
    path = nifti(tmp_path / "image.nii", metres, metres)
    image = nibabel.load(path)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "metres.nii")
    geometry = read_volume(tmp_path / "metres.nii").geometry
    write_image(tmp_path / "labels.nii", noise(), geometry)
    for form in forms(tmp_path / "labels.nii")[:2]:
        np.testing.assert_allclose(form, np.eye(4), atol=1e-6)


def test_a_part_of_an_image_does_not_have_its_forms(tmp_path):
    geometry = read_volume(nifti(tmp_path / "image.nii", np.eye(4), MOVED)).geometry
    part = geometry.cropped((slice(1, 9), slice(0, 11), slice(0, 12)))
    write_image(tmp_path / "part.nii", noise(part.shape), part)
    assert part.forms is None
    for form in forms(tmp_path / "part.nii")[:2]:
        np.testing.assert_allclose(form, part.ijk_to_ras)


def test_the_forms_survive_a_pipe_between_processes(tmp_path):
    geometry = read_volume(nifti(tmp_path / "image.nii", np.eye(4), MOVED, (1, 2))).geometry
    received = Geometry(**json.loads(json.dumps(asdict(geometry))))
    assert received == geometry
    for name, geometry_of in (("here", geometry), ("there", received)):
        write_image(tmp_path / f"{name}.nii", noise(), geometry_of)
    assert (tmp_path / "here.nii").read_bytes() == (tmp_path / "there.nii").read_bytes()


@pytest.mark.parametrize(("code", "at", "count"), [(252, 256, 6), (254, 280, 12)], ids=["qform", "sform"])
def test_an_image_whose_unset_form_holds_nan_reaches_a_worker(tmp_path, code, at, count):
    """JSON has no NaN."""
    path = nifti(tmp_path / "image.nii", np.eye(4), np.eye(4))
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, code, 0)
    struct.pack_into(f"<{count}f", content, at, *[np.nan] * count)
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.geometry.close_to(Geometry.from_ijk_to_ras(np.eye(4), volume.geometry.size))
    write_request(tmp_path, [SourceImage("T1", volume.array[0], volume.geometry)], Order("tiny"))
    (received,) = read_request(tmp_path)[0]
    assert received.geometry.forms == volume.geometry.forms


@settings(max_examples=60)
@given(geometry=geometries(smallest=2))
def test_both_forms_of_any_grid_give_every_reader_the_same_place(tmp_path_factory, geometry):
    path = tmp_path_factory.mktemp("forms") / "image.nii"
    write_image(path, np.zeros(geometry.shape, np.uint8), geometry)
    assert Geometry.from_image(sitk.ReadImage(str(path))).close_to(geometry)
    grids = [Geometry.from_ijk_to_ras(form, geometry.size) for form in forms(path)[:2]]
    assert all(grid.close_to(geometry) for grid in grids)
    own = both_forms(geometry.ijk_to_ras)  # of a quaternion, a turn of 180 degrees is rounded to 0.0006
    np.testing.assert_allclose(own.by_qform, own.by_sform, atol=1e-3 * max(geometry.spacing))
