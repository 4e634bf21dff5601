"""Volumes from files and back to files: place in space, channels on one grid, DICOM series."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from fixtures.images.geometries import ORIENTATIONS, geometries, orientations, positions, rotation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mednext.errors import ChannelError, GeometryError, UnreadableImageError, UnsupportedImageError
from mednext.images.geometry import Geometry, reorient_array
from mednext.images.volume import Volume, combine_channels, read_channels, read_volume, write_image

OBLIQUE = Geometry((9, 8, 7), (0.8, 1.1, 2.5), (-31, 12.5, 407.3), rotation(10, -25, 40).ravel())
FORMATS = ["nii.gz", "nii", "nrrd", "mha"]


def noise(geometry, seed=0):
    return np.random.default_rng(seed).normal(size=geometry.shape).astype(np.float32)


def volume_of(array, geometry, name="image"):
    return Volume(np.asarray(array, dtype=np.float32)[np.newaxis], geometry, (name,))


def ramp(geometry):
    """Values that depend linearly on the place in space only: mm RAS with three different weights."""
    return np.tensordot((1.0, 0.3, -0.6), positions(geometry), axes=1)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ("uint8", "uint8"),
        ("int16", "int16"),
        *((other, "float32") for other in ("uint16", "int32", "int64", "uint64", "float64")),
    ],
)
def test_small_whole_numbers_keep_their_type_and_all_others_become_float32(tmp_path, stored, kept):
    array = np.random.default_rng(0).integers(0, 200, OBLIQUE.shape).astype(stored)
    write_image(tmp_path / "image.nrrd", array, OBLIQUE)
    for volume in (read_volume(tmp_path / "image.nrrd"), Volume(array[np.newaxis], OBLIQUE)):
        np.testing.assert_array_equal(volume.array[0], array)
        assert volume.array.dtype == kept


def test_a_channel_of_whole_numbers_is_not_rounded_on_another_grid():
    fine = Geometry((16, 16, 16), (1.0, 1.0, 1.0))
    coarse = Geometry((8, 8, 8), (2.0, 2.0, 2.0), (0.7, 0.7, 0.7))
    whole = np.random.default_rng(0).integers(-500, 500, fine.shape).astype(np.int16)
    one, other = (Volume(whole[np.newaxis].astype(kind), fine) for kind in (np.int16, np.float32))
    reference = Volume(np.zeros((1, *coarse.shape)), coarse)
    found = combine_channels([reference, one]).array
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, combine_channels([reference, other]).array)
    assert (found[1] != found[1].round()).any()


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_image_that_was_written_comes_back_voxel_by_voxel(tmp_path, suffix):
    array = noise(OBLIQUE)
    write_image(tmp_path / f"image.{suffix}", array, OBLIQUE)
    volume = read_volume(tmp_path / f"image.{suffix}")
    np.testing.assert_array_equal(volume.array, array[np.newaxis])
    assert volume.array.dtype == np.float32
    assert volume.geometry.close_to(OBLIQUE, tolerance=1e-4)
    assert volume.names == (f"image.{suffix}",)


@settings(max_examples=40)
@given(geometry=geometries(smallest=2))
def test_every_geometry_survives_nifti_nrrd_and_metaimage(tmp_path_factory, geometry):
    folder = tmp_path_factory.mktemp("formats")
    for suffix in FORMATS[1:]:
        write_image(folder / f"image.{suffix}", noise(geometry), geometry)
        assert read_volume(folder / f"image.{suffix}").geometry.close_to(geometry, tolerance=1e-3)


@settings(max_examples=40)
@given(geometry=geometries(smallest=4, largest=9), data=st.data())
def test_a_label_found_in_the_canonical_volume_lies_on_its_structure_in_the_source(
    tmp_path_factory, geometry, data
):
    structure = tuple(data.draw(st.integers(0, n - 1)) for n in geometry.shape)
    array = noise(geometry) * 0.1
    array[structure] = 100
    canonical, grid = reorient_array(array, geometry, "RAS")
    labels, _ = reorient_array((canonical > 50).astype(np.uint8), grid, geometry.orientation)
    path = tmp_path_factory.mktemp("labels") / "labels.nii"
    write_image(path, labels, geometry)

    written = nibabel.load(path)  # an independent reader of places
    (index,) = np.argwhere(np.asarray(written.dataobj))
    np.testing.assert_allclose(
        nibabel.affines.apply_affine(written.affine, index), positions(geometry)[:, *structure], atol=5e-3
    )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float64])
def test_every_common_voxel_type_can_be_written(tmp_path, dtype):
    array = (noise(OBLIQUE) > 0).astype(dtype)
    write_image(tmp_path / "image.nrrd", array, OBLIQUE)
    written = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "image.nrrd"))
    np.testing.assert_array_equal(written, array)


@pytest.mark.parametrize("folder", ["with space", "Universitätsklinikum Zürich/病院", "50% #1 & co"])
@pytest.mark.parametrize("suffix", FORMATS[1:])
def test_any_path_works(tmp_path, folder, suffix):
    path = tmp_path / folder / f"Müller 脳 1.2.{suffix}"
    path.parent.mkdir(parents=True)
    write_image(path, noise(OBLIQUE), OBLIQUE)
    np.testing.assert_array_equal(read_volume(path).array[0], noise(OBLIQUE))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_channels_on_one_grid_are_taken_as_they_are():
    volumes = [volume_of(noise(OBLIQUE, seed), OBLIQUE, f"c{seed}") for seed in range(3)]
    combined = combine_channels(volumes)
    np.testing.assert_array_equal(combined.array, np.concatenate([v.array for v in volumes]))
    assert combined.names == ("c0", "c1", "c2")


DENORMAL = (-1.0, 4e-313, 0.0, -4e-313, -1.0, 0.0, 0.0, 0.0, -1.0)


@settings(max_examples=60)
@example(Geometry((3, 3, 3), (1, 1, 1)), Geometry((3, 3, 3), (1, 1, 1), direction=DENORMAL))
@given(reference=geometries(smallest=3, largest=8), channel=geometries(smallest=3, largest=8))
def test_a_channel_on_any_other_grid_keeps_its_values_in_space(reference, channel):
    # Around the reference's middle and large enough to hold it all, so no voxel is background.
    spread = np.ptp(positions(reference).reshape(3, -1), axis=1)
    middle = positions(reference).reshape(3, -1).mean(axis=1) * (-1, -1, 1)
    spacing = tuple(3 + float(np.linalg.norm(spread)) / (n - 1) for n in channel.size)
    channel = replace(channel, spacing=spacing, origin=(0, 0, 0))
    centre = (channel.affine @ [*((n - 1) / 2 for n in channel.size), 1])[:3]
    channel = replace(channel, origin=tuple(middle - centre))

    combined = combine_channels([volume_of(noise(reference), reference), volume_of(ramp(channel), channel)])
    np.testing.assert_array_equal(combined.array[0], noise(reference))
    np.testing.assert_allclose(combined.array[1], ramp(reference), atol=0.01 * np.ptp(ramp(channel)) + 1e-3)


@given(orientations)
@settings(max_examples=len(ORIENTATIONS))
def test_a_channel_stored_along_other_axes_comes_back_voxel_by_voxel(code):
    stored, grid = reorient_array(noise(OBLIQUE, 1), OBLIQUE, code)
    combined = combine_channels([volume_of(noise(OBLIQUE), OBLIQUE), volume_of(stored, grid)])
    np.testing.assert_allclose(combined.array[1], noise(OBLIQUE, 1), atol=1e-4)


def test_beyond_its_border_a_channel_has_its_own_minimum():
    reference = Geometry((10, 10, 10), (1, 1, 1))
    half = Geometry((10, 10, 5), (1, 1, 1))
    combined = combine_channels(
        [volume_of(noise(reference), reference), volume_of(noise(half) - 500, half, "FLAIR")]
    )
    np.testing.assert_array_equal(combined.array[1, :5], noise(half) - 500)
    assert (combined.array[1, 5:] == (noise(half) - 500).min()).all()
    assert "FLAIR covers 50% of image; the rest is taken as background" in combined.warnings[0]


@pytest.mark.parametrize(("distance_mm", "covered"), [(8, "20%"), (100, "0%")])
def test_a_channel_that_hardly_overlaps_is_refused_with_the_fraction(distance_mm, covered):
    reference = Geometry((10, 10, 10), (1, 1, 1))
    elsewhere = Geometry((10, 10, 10), (1, 1, 1), (0, 0, distance_mm))
    with pytest.raises(GeometryError, match=f"T2 covers {covered} of T1, less than 25%"):
        combine_channels(
            [volume_of(noise(reference), reference, "T1"), volume_of(noise(elsewhere), elsewhere, "T2")]
        )


def test_channels_are_read_in_the_order_that_they_are_given(tmp_path):
    other = replace(OBLIQUE, origin=tuple(np.add(OBLIQUE.origin, 1)))
    for name, geometry in (("t2", other), ("t1", OBLIQUE)):
        write_image(tmp_path / f"{name}.nrrd", noise(geometry), geometry)
    volume = read_channels([tmp_path / "t1.nrrd", tmp_path / "t2.nrrd"])
    assert volume.names == ("t1.nrrd", "t2.nrrd")
    assert volume.geometry == read_volume(tmp_path / "t1.nrrd").geometry


def test_no_channel_is_refused():
    with pytest.raises(ChannelError, match="No image"):
        combine_channels([])


def test_a_volume_off_its_grid_is_refused():
    with pytest.raises(GeometryError, match="is not on a grid"):
        Volume(np.zeros((1, 4, 4, 5), np.float32), Geometry((4, 4, 4), (1, 1, 1)))


@pytest.fixture
def hounsfield():
    return np.random.default_rng(0).integers(-1024, 2000, OBLIQUE.shape)


@pytest.mark.parametrize("descending", [False, True])
def test_a_dicom_series_is_read_in_hu_and_in_its_place(tmp_path, hounsfield, descending):
    write_series(tmp_path, hounsfield, OBLIQUE, descending=descending)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array[0], hounsfield)
    assert volume.geometry.close_to(OBLIQUE, tolerance=1e-4)


def test_a_dicom_series_stored_against_its_normal_keeps_every_voxel_in_its_place(tmp_path, hounsfield):
    against = np.reshape(OBLIQUE.direction, (3, 3)) * (1, 1, -1)
    left_handed = replace(OBLIQUE, direction=tuple(against.ravel()))
    write_series(tmp_path, hounsfield, left_handed)
    volume = read_volume(tmp_path)
    canonical, grid = reorient_array(volume.array[0], volume.geometry, "RAS")
    expected, expected_grid = reorient_array(hounsfield, left_handed, "RAS")
    np.testing.assert_array_equal(canonical, expected)
    assert grid.close_to(expected_grid, tolerance=1e-4)


def test_every_slice_is_rescaled_with_its_own_slope(tmp_path, hounsfield):
    slopes = [1, 0.5, 0.25, 1, 0.5, 0.25, 0.125]
    halves = hounsfield * np.reshape(slopes, (-1, 1, 1))
    write_series(tmp_path, halves, OBLIQUE, slopes=slopes)
    np.testing.assert_array_equal(read_volume(tmp_path).array[0], halves)


def test_one_of_several_series_is_chosen_by_its_uid(tmp_path, hounsfield):
    first = write_series(tmp_path, hounsfield, OBLIQUE, description="arterial")
    second = write_series(tmp_path, hounsfield[::-1], OBLIQUE, description="venous")
    with pytest.raises(UnreadableImageError, match="holds 2 series, choose one") as caught:
        read_volume(tmp_path)
    for said in (first, second, '(CT "arterial", 7 files)', '(CT "venous", 7 files)', f"{tmp_path}#"):
        assert said in str(caught.value)
    np.testing.assert_array_equal(read_volume(f"{tmp_path}#{second}").array[0], hounsfield[::-1])
    with pytest.raises(UnreadableImageError, match=r"has no series 1\.2\.3, it has"):
        read_volume(f"{tmp_path}#1.2.3")


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_a_missing_slice_is_found(tmp_path, hounsfield, missing):
    write_series(tmp_path, hounsfield, OBLIQUE, skip=[missing])
    with pytest.raises(GeometryError, match=r"uneven gaps between slices, 2\.50 to 5\.00 mm"):
        read_volume(tmp_path)


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path, hounsfield):
    straight = Geometry(OBLIQUE.size, OBLIQUE.spacing)
    write_series(tmp_path, hounsfield, straight, shift_per_slice=(0, 2.5 * np.tan(np.radians(12)), 0))
    with pytest.raises(GeometryError, match=r"tilted by 12\.0 degrees"):
        read_volume(tmp_path)


def test_a_small_tilt_that_moves_the_last_slice_by_more_than_a_pixel_is_refused(tmp_path):
    array, geometry = np.zeros((25, 4, 4)), Geometry((4, 4, 25), (0.25, 0.25, 2.5))
    write_series(tmp_path, array, geometry, shift_per_slice=(2.5 * np.tan(np.radians(0.4)), 0, 0))
    with pytest.raises(GeometryError, match=r"tilted by 0\.4 degrees"):
        read_volume(tmp_path)


def test_slices_that_are_displaced_within_the_stack_are_refused(tmp_path, hounsfield):
    write_series(tmp_path, hounsfield, OBLIQUE)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        if dataset.InstanceNumber in (3, 4):
            to_the_side = 30 * np.reshape(OBLIQUE.direction, (3, 3))[:, 0]
            dataset.ImagePositionPatient = list(dataset.ImagePositionPatient + to_the_side.round(3))
            dataset.save_as(file)
    with pytest.raises(GeometryError, match=r"displaced by up to 30\.0 mm"):
        read_volume(tmp_path)


def test_several_slices_in_one_place_are_refused(tmp_path, hounsfield):
    geometry = Geometry(OBLIQUE.size, OBLIQUE.spacing)
    write_series(tmp_path, hounsfield, geometry, shift_per_slice=(0, 0, -2.5))
    with pytest.raises(UnsupportedImageError, match=r"several slices at 0\.00 mm"):
        read_volume(tmp_path)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even_enough(tmp_path):
    array = np.random.default_rng(0).integers(-1000, 1000, (60, 4, 4))
    write_series(tmp_path, array, Geometry((4, 4, 60), (1, 1, 0.625)), decimals=1)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.geometry.spacing[2] == pytest.approx(0.625, rel=0.01)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image here")
    with pytest.raises(UnreadableImageError, match="has no DICOM images"):
        read_volume(tmp_path)


@pytest.mark.real_data
def test_real_ct_and_mr_are_read_where_nibabel_sees_them(real_data):
    for file in ("abdomen_ct/ct.nii.gz", "brain_mr_4ch/BraTS-MET-00110-000-t1n.nii.gz"):
        volume, image = read_volume(real_data / file), nibabel.load(real_data / file)
        np.testing.assert_allclose(volume.geometry.ijk_to_ras, image.affine, atol=1e-3)
        np.testing.assert_array_equal(volume.array[0].T, image.get_fdata(dtype=np.float32))
