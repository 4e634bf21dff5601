"""Grids in space: orientation codes, reorienting without resampling, boxes and regions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.images.geometries import ORIENTATIONS, geometries, orientations, positions, rotation
from hypothesis import given
from hypothesis import strategies as st
from mednext.errors import GeometryError, OptionError, UnsupportedImageError
from mednext.images.geometry import Geometry, Roi, reorient_array

IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def numbered(geometry):
    """An array whose voxels all differ."""
    return np.arange(np.prod(geometry.shape)).reshape(geometry.shape)


@given(geometries(), orientations)
def test_every_voxel_keeps_its_place_when_the_axes_are_reoriented(geometry, code):
    moved, grid = reorient_array(positions(geometry), geometry, code)
    assert grid.orientation == code
    np.testing.assert_allclose(moved, positions(grid), atol=1e-9 * 300)


@given(geometries(), orientations)
def test_reorienting_and_back_is_the_identity(geometry, code):
    array = numbered(geometry)
    moved, grid = reorient_array(array, geometry, code)
    back, original = reorient_array(moved, grid, geometry.orientation)
    np.testing.assert_array_equal(back, array)
    assert original.size == geometry.size
    assert original.direction == geometry.direction
    assert original.close_to(geometry, tolerance=1e-9)


@given(geometries(), orientations)
def test_the_canonical_volume_does_not_depend_on_how_the_axes_are_stored(geometry, stored):
    array = numbered(geometry)
    expected, expected_grid = reorient_array(array, geometry, "RAS")
    canonical, grid = reorient_array(*reorient_array(array, geometry, stored), "RAS")
    np.testing.assert_array_equal(canonical, expected)
    assert grid.close_to(expected_grid, tolerance=1e-9)


@pytest.mark.parametrize(
    "angles", [(45, 0, 0), (0, 45, 0), (0, 0, 45), (45, 45, 0), (45, 0, 45), (0, 0, -135)]
)
def test_at_45_degrees_neither_storage_nor_rounding_decides_which_axis_is_which(angles):
    geometry = Geometry((2, 3, 4), (1, 1, 1), direction=rotation(*angles).ravel())
    expected, _ = reorient_array(numbered(geometry), geometry, "RAS")
    for stored in ORIENTATIONS:
        array, grid = reorient_array(numbered(geometry), geometry, stored)
        for noise in (-1e-5, 0, 1e-5):
            turned = rotation(noise, -noise, noise) @ np.reshape(grid.direction, (3, 3))
            canonical, _ = reorient_array(array, replace(grid, direction=tuple(turned.ravel())), "RAS")
            np.testing.assert_array_equal(canonical, expected)


@given(orientations, *(st.floats(-20, 20) for _ in range(3)))
def test_orientation_codes_are_nibabels(code, x, y, z):
    turned = Geometry((2, 3, 4), (1, 2, 3), direction=rotation(x, y, z).ravel()).reoriented(code)
    assert "".join(nibabel.aff2axcodes(turned.ijk_to_ras)) == turned.orientation == code


@given(geometries())
def test_positions_are_those_of_itk(geometry):
    image = sitk.Image(geometry.size, sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    last = [n - 1 for n in geometry.size]
    np.testing.assert_allclose(
        (geometry.affine @ [*last, 1])[:3], image.TransformIndexToPhysicalPoint(last), atol=1e-9
    )
    assert Geometry.from_image(image) == geometry


@given(geometries())
def test_a_slicer_matrix_makes_the_same_grid(geometry):
    assert Geometry.from_ijk_to_ras(geometry.ijk_to_ras, geometry.size).close_to(geometry, tolerance=1e-9)


@given(geometries(), st.data())
def test_a_crop_keeps_every_voxel_in_its_place(geometry, data):
    starts = [data.draw(st.integers(0, n - 1)) for n in geometry.shape]
    box = tuple(
        slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, geometry.shape, strict=True)
    )
    cropped = geometry.cropped(box)
    np.testing.assert_allclose(positions(geometry)[:, *box], positions(cropped), atol=1e-9 * 300)


def test_an_empty_crop_is_refused():
    with pytest.raises(GeometryError, match=r"shape \(4, 4, 4\)"):
        Geometry((4, 4, 4), (1, 1, 1)).cropped((slice(2, 2), slice(None), slice(None)))


def test_reorienting_makes_no_copy():
    geometry = Geometry((5, 6, 7), (1, 1, 1))
    array = numbered(geometry)
    assert np.shares_memory(reorient_array(array, geometry, "SAR")[0], array)


def test_leading_axes_stay_where_they_are():
    geometry = Geometry((5, 6, 7), (1, 1, 1))
    moved, grid = reorient_array(np.zeros((2, 3, *geometry.shape)), geometry, "SRA")
    assert moved.shape == (2, 3, *grid.shape)


@pytest.mark.parametrize(("moved_mm", "same"), [(0.001, True), (0.02, False)])
def test_grids_are_close_when_no_voxel_is_further_off_than_a_hundredth_of_a_voxel(moved_mm, same):
    geometry = Geometry((50, 50, 50), (1, 1, 3))
    assert geometry.close_to(Geometry((50, 50, 50), (1, 1, 3), (moved_mm, 0, 0))) is same


def test_a_small_turn_of_a_large_volume_is_not_close():
    direction = rotation(0, 0, 0.1).ravel()
    assert not Geometry((500, 500, 2), (1, 1, 1)).close_to(
        Geometry((500, 500, 2), (1, 1, 1), direction=direction)
    )


def test_grids_of_other_sizes_are_not_close():
    assert not Geometry((5, 5, 5), (1, 1, 1)).close_to(Geometry((5, 5, 6), (1, 1, 1)))


def test_the_volume_of_a_voxel_is_in_millilitres():
    assert Geometry((2, 2, 2), (1, 2, 5)).voxel_volume_ml == pytest.approx(0.01)


@pytest.mark.parametrize(
    "direction",
    [
        (1, 0.2, 0, 0, 1, 0, 0, 0, 1),
        (1, 0, 0, 1, 0, 0, 0, 0, 1),
        (0,) * 9,
        (2, 0, 0, 0, 1, 0, 0, 0, 1),
        (float("nan"), 0, 0, 0, 1, 0, 0, 0, 1),
        (1, 0, 0),
    ],
)
def test_a_degenerate_or_sheared_direction_is_refused(direction):
    with pytest.raises(GeometryError, match=r"axes|nine finite numbers"):
        Geometry((4, 4, 4), (1, 1, 1), direction=direction)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (-1, 1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_an_impossible_spacing_is_refused_with_its_value(spacing):
    with pytest.raises(UnsupportedImageError, match=r"spacing \(.*, 1, 1\) mm is impossible"):
        Geometry((4, 4, 4), spacing)


def test_an_infinite_origin_is_refused():
    with pytest.raises(GeometryError, match="inf"):
        Geometry((4, 4, 4), (1, 1, 1), (float("inf"), 0, 0))


@pytest.mark.parametrize("size", [(0, 4, 4), (4, 4)])
def test_a_size_without_voxels_along_three_axes_is_refused(size):
    with pytest.raises(UnsupportedImageError, match="three axes"):
        Geometry(size, (1, 1, 1))


def test_the_grid_of_a_flat_image_is_refused():
    with pytest.raises(UnsupportedImageError, match="this image has 2"):
        Geometry.from_image(sitk.Image((4, 4), sitk.sitkUInt8))


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.diag([0.0, 1, 1, 1])])
def test_a_slicer_matrix_with_a_collapsed_axis_is_refused(matrix):
    with pytest.raises(UnsupportedImageError, match="spacing"):
        Geometry.from_ijk_to_ras(matrix, (4, 4, 4))


@pytest.mark.parametrize("matrix", [np.eye(3), np.full((4, 4), np.nan)])
def test_a_slicer_matrix_of_another_shape_or_with_nan_is_refused(matrix):
    with pytest.raises(GeometryError, match="4x4 finite numbers"):
        Geometry.from_ijk_to_ras(matrix, (4, 4, 4))


@pytest.mark.parametrize("code", ["RAZ", "RRS", "RA", "", "RASI", "LRS"])
def test_an_unknown_orientation_is_refused_with_its_name(code):
    with pytest.raises(OptionError, match=f'"{code}" is no orientation'):
        Geometry((4, 4, 4), (1, 1, 1)).reoriented(code)


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(GeometryError, match=r"\(4, 4, 5\).*\(4, 4, 4\)"):
        reorient_array(np.zeros((4, 4, 5)), Geometry((4, 4, 4), (1, 1, 1)), "RAS")


@given(geometries(smallest=3, largest=8), st.data())
def test_a_region_holds_every_voxel_whose_centre_is_inside(geometry, data):
    centres = positions(geometry)
    inner = centres.reshape(3, -1)[:, data.draw(st.integers(0, geometry.size[0] - 1))]
    reach = [data.draw(st.floats(0.1, 20)) for _ in range(3)]
    roi = Roi(tuple(inner - reach), tuple(inner + reach))
    inside = np.all(
        np.abs(centres - inner[:, None, None, None]) < np.array(reach)[:, None, None, None], axis=0
    )
    box = np.zeros(geometry.shape, bool)
    box[roi.box_in(geometry)] = True
    assert not (inside & ~box).any()


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (1.6, 3.4, (2, 4)),  # inside the voxels 2 and 3
        (1.5, 3.5, (2, 4)),  # just on their faces
        (1.4, 3.6, (1, 5)),  # a little into the neighbours
        (2.9, 3.1, (3, 4)),  # within one voxel
        (-50, 50, (0, 8)),
    ],
)
def test_a_region_along_the_axes_takes_the_voxels_that_it_touches(lower, upper, expected):
    geometry = Geometry.from_ijk_to_ras(np.eye(4), (8, 9, 10))
    box = Roi((lower, 0, 0), (upper, 1, 1)).box_in(geometry)
    assert (box[2].start, box[2].stop) == expected


@given(st.floats(0.1, 6), st.floats(-300, 300), st.integers(0, 7), st.data())
def test_a_region_that_ends_on_faces_of_voxels_takes_no_neighbours(spacing, origin, first, data):
    last = data.draw(st.integers(first, 7))
    geometry = Geometry.from_ijk_to_ras(
        [[spacing, 0, 0, origin], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], (8, 9, 10)
    )
    lower, upper = origin + spacing * (first - 0.5), origin + spacing * (last + 0.5)
    assert Roi((lower, 0, 0), (upper, 1, 1)).box_in(geometry)[2] == slice(first, last + 1)


def test_a_region_is_the_same_tissue_however_the_axes_are_stored():
    geometry = Geometry((8, 9, 10), (1.5, 2, 3), (-7, 11, 5))
    roi = Roi((-4, -20, 8), (2, -12, 21))
    cropped = geometry.cropped(roi.box_in(geometry)).reoriented("RAS")
    for code in ORIENTATIONS:
        stored = geometry.reoriented(code)
        assert stored.cropped(roi.box_in(stored)).reoriented("RAS").close_to(cropped, tolerance=1e-9)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("distance", [-100, 100])
def test_a_region_outside_the_image_is_refused_with_both_places(axis, distance):
    lower, upper = np.zeros(3), np.ones(3)
    lower[axis] += distance
    upper[axis] += distance
    geometry = Geometry.from_ijk_to_ras(np.eye(4), (8, 9, 10))
    with pytest.raises(GeometryError, match=r"outside the image \(\(0, 0, 0\) to \(7, 8, 9\)\)"):
        Roi(tuple(lower), tuple(upper)).box_in(geometry)


@pytest.mark.parametrize(
    ("lower", "upper"), [((0, 0, 5), (1, 1, 5)), ((2, 0, 0), (1, 1, 1)), ((0, 0, float("nan")), (1, 1, 1))]
)
def test_a_region_without_extent_is_refused(lower, upper):
    with pytest.raises(OptionError, match="region"):
        Roi(lower, upper)


def test_all_48_orientations_are_distinguished():
    geometry = Geometry((2, 3, 4), (1, 1, 1), direction=IDENTITY)
    found = {geometry.reoriented(code).orientation for code in ORIENTATIONS}
    assert len(found) == len(ORIENTATIONS) == len(list(itertools.permutations(range(3)))) * 8
