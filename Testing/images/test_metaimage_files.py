"""MetaImage headers: missing facts are not invented, given ones are used, and bad headers are refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from fixtures.images.refusals import GRID, noise, refused
from mednext.errors import GeometryError, InputError, UnreadableImageError, UnsupportedImageError
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume

SHAPE = GRID.shape
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "3 -4 5",
    "ElementSpacing": "1 1 2",
    "DimSize": "12 11 10",
    "ElementType": "MET_FLOAT",
    "ElementDataFile": "LOCAL",
}


def metaimage(path, voxels=None, **changes):
    """An image with these fields changed in its header; None removes a field."""
    fields = {**FIELDS, **changes}
    last = fields.pop("ElementDataFile")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    header = "\n".join([*lines, f"ElementDataFile = {last}", ""])
    voxels = noise().astype("<f4").tobytes() if voxels is None else voxels
    path.write_bytes(header.encode() + (voxels if last.casefold() == "local" else b""))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.mha"


def test_a_sound_header_is_read(path):
    volume = read_volume(metaimage(path))
    assert volume.geometry == Geometry((12, 11, 10), (1, 1, 2), (3, -4, 5))
    np.testing.assert_array_equal(volume.array[0], noise())
    assert volume.warnings == ()


@pytest.mark.parametrize("name", ["TransformMatrix", "Offset"])
def test_a_missing_place_is_not_invented(path, name):
    refused(metaimage(path, **{name: None}), GeometryError, f'no "{name}"', "convert it anew")


def test_a_missing_spacing_is_not_invented(path):
    refused(metaimage(path, ElementSpacing=None), UnsupportedImageError, 'no "ElementSpacing"')


def test_without_a_spacing_the_size_of_voxels_is_taken(path):
    volume = read_volume(metaimage(path, ElementSpacing=None, ElementSize="1 1 3"))
    assert volume.geometry.spacing == (1, 1, 3)
    assert "ElementSize was taken" in volume.warnings[0]


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("cm", 10), ("um", 0.001)])
def test_units_of_length_are_converted(path, unit, mm):
    spacing = " ".join(f"{length / mm:g}" for length in (1, 1, 2))
    offset = " ".join(f"{length / mm:g}" for length in (3, -4, 5))
    volume = read_volume(metaimage(path, DistanceUnits=unit, ElementSpacing=spacing, Offset=offset))
    assert volume.geometry.close_to(Geometry((12, 11, 10), (1, 1, 2), (3, -4, 5)), 1e-9)


def test_an_unknown_unit_of_length_is_refused(path):
    refused(metaimage(path, DistanceUnits="ell"), UnsupportedImageError, '"ell"', "convert it to mm")


@pytest.mark.parametrize("other", ["Position", "Origin"])
def test_a_place_that_is_given_twice_and_differently_is_refused(path, other):
    refused(metaimage(path, **{other: "0 0 0"}), UnreadableImageError, '"Offset" twice and differently')


@pytest.mark.parametrize("other", ["Rotation", "Orientation"])
def test_all_names_of_the_matrix_are_known(path, other):
    metaimage(path, TransformMatrix=None, **{other: "0 1 0 1 0 0 0 0 1"})
    assert read_volume(path).geometry.orientation == "PLS"


def test_an_orientation_that_contradicts_the_matrix_is_warned_of(path):
    assert read_volume(metaimage(path, AnatomicalOrientation="RAI")).warnings == ()
    (warning,) = read_volume(metaimage(path, AnatomicalOrientation="LPI")).warnings
    assert "AnatomicalOrientation is LPI, but RAI by its TransformMatrix" in warning


def test_the_function_from_elements_to_intensities_is_applied_and_reported(path):
    changes = {"ElementToIntensityFunctionSlope": "2", "ElementToIntensityFunctionOffset": "-1024"}
    volume = read_volume(metaimage(path, **changes))
    np.testing.assert_allclose(volume.array[0], 2 * noise() - 1024, rtol=1e-6)
    assert "scaled by 2 and -1024 was added" in volume.warnings[0]


def test_a_missing_order_of_bytes_is_warned_of(path):
    (warning,) = read_volume(metaimage(path, BinaryDataByteOrderMSB=None)).warnings
    assert "does not say the order of its bytes" in warning


def test_both_orders_of_bytes_are_read(path):
    metaimage(path, noise().astype(">f4").tobytes(), BinaryDataByteOrderMSB="True")
    np.testing.assert_array_equal(read_volume(path).array[0], noise())


@pytest.mark.parametrize(
    "count", ["-1", "0", "1", "2", "100", "1000", "4294967296", "3.0", "three", "9" * 5000]
)
def test_an_impossible_number_of_dimensions_is_refused(path, count):
    refused(metaimage(path, NDims=count), UnreadableImageError, "dimensions")


@pytest.mark.parametrize(
    "size", ["12 11", "12 11 -10", "12 11 0", "4294967296 4294967296 4", "12 11 10 2", "a b c", ""]
)
def test_an_impossible_size_is_refused(path, size):
    refused(metaimage(path, DimSize=size), InputError)


@pytest.mark.parametrize(
    "text", ["nan 1 1", "1 1", "1e400 1 1", "0 1 1", "1 1 -2", "1_0 1 1", "x" * 1500, "0x1 1 1"]
)
def test_an_impossible_spacing_is_refused(path, text):
    refused(metaimage(path, ElementSpacing=text), InputError, "correct its header")


@pytest.mark.parametrize(
    "text", ["0 0 0 0 0 0 0 0 0", "1 0 0 1 0 0 0 0 1", "2 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0"]
)
def test_an_impossible_matrix_is_refused(path, text):
    refused(metaimage(path, TransformMatrix=text), InputError)


@pytest.mark.parametrize("kind", ["MET_STRING", "MET_FLOAT_ARRAY", "MET_OTHER", "%s%s%n", "M" * 1500])
def test_voxels_of_an_unknown_type_are_refused(path, kind):
    refused(metaimage(path, ElementType=kind), UnsupportedImageError, "save it with whole numbers or float")


def test_colours_and_packed_text_are_refused(path):
    refused(metaimage(path, ElementNumberOfChannels="3"), UnsupportedImageError, "3 values per voxel")
    refused(
        metaimage(path, BinaryData="False", CompressedData="True"), UnreadableImageError, "CompressedData"
    )


def test_a_series_of_volumes_is_refused(path):
    matrix = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"
    four = {"NDims": "4", "TransformMatrix": matrix, "Offset": "0 0 0 0", "ElementSpacing": "1 1 2 1"}
    refused(metaimage(path, DimSize="12 11 10 5", **four), UnsupportedImageError, "5 volumes", "extract one")
    assert read_volume(metaimage(path, DimSize="12 11 10 1", **four)).geometry.size == (12, 11, 10)


def test_voxels_as_text_are_read(path):
    text = " ".join(f"{value:.9g}" for value in noise().ravel()).encode()
    np.testing.assert_array_equal(read_volume(metaimage(path, text, BinaryData="False")).array[0], noise())
    refused(metaimage(path, text[:-20], BinaryData="False"), UnreadableImageError, "numbers")
    refused(metaimage(path, text + b" x", BinaryData="False"), UnreadableImageError, "numbers")


def test_text_that_the_type_cannot_hold_is_refused(path):
    text = b" ".join([b"70000"] * noise().size)
    refused(metaimage(path, text, BinaryData="False", ElementType="MET_SHORT"), UnreadableImageError, "int16")


def test_voxels_at_the_end_of_the_file_are_read(path):
    voxels = b"something else" + noise().astype("<f4").tobytes()
    np.testing.assert_array_equal(read_volume(metaimage(path, voxels, HeaderSize="-1")).array[0], noise())
    refused(metaimage(path, HeaderSize="-2"), UnreadableImageError, "HeaderSize")


def test_a_compressed_stream_that_is_shorter_or_longer_than_the_header_says_is_refused(path):
    voxels = noise().astype("<f4").tobytes()
    for wrong, sentence in ((voxels[:-4], "truncated"), (voxels + voxels, "more than the header")):
        metaimage(path, zlib.compress(wrong), CompressedData="True")
        refused(path, UnreadableImageError, sentence)
    metaimage(path, zlib.compress(voxels)[:-3], CompressedData="True")
    refused(path, UnreadableImageError, "ends early", "copy it again")


def test_a_few_bytes_more_than_the_header_says_are_warned_of(path):
    (warning,) = read_volume(metaimage(path, noise().astype("<f4").tobytes() + b"more")).warnings
    assert "4 bytes more" in warning


def test_a_header_that_claims_more_voxels_than_the_file_can_hold_takes_no_memory(path):
    for changes in ({}, {"CompressedData": "True"}, {"BinaryData": "False"}):
        metaimage(path, DimSize="3000 3000 3000", **changes)
        refused(path, UnreadableImageError, "bytes are missing")


@pytest.mark.parametrize("line", ["", "x" * 70_000, "\0\0", "no separator"])
def test_a_file_without_a_header_is_refused(path, line):
    path.write_bytes(f"ObjectType = Image\n{line}".encode())
    refused(path, UnreadableImageError, "no MetaImage header")
