"""NRRD headers: missing facts are not invented, units are converted, and bad headers are refused."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest
from fixtures.images.refusals import noise, refused
from mednext.errors import GeometryError, InputError, UnreadableImageError, UnsupportedImageError
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume

FIELDS = {
    "type": "float",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "12 11 10",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(3,-4,5)",
}


def nrrd(path, voxels=None, more="", **changes):
    """An image with these fields changed in its header (underscores for blanks); None removes a field."""
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    header = "\n".join(["NRRD0004", *lines, more]) + ("\n" if more else "") + "\n"
    path.write_bytes(header.encode() + (noise().astype("<f4").tobytes() if voxels is None else voxels))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.nrrd"


def test_a_sound_header_is_read(path):
    volume = read_volume(nrrd(path))
    assert volume.geometry == Geometry((12, 11, 10), (1, 1, 2), (3, -4, 5))
    np.testing.assert_array_equal(volume.array[0], noise())
    assert volume.warnings == ()


@pytest.mark.parametrize(
    ("space", "orientation"),
    [("right-anterior-superior", "RAS"), ("RAS", "RAS"), ("left-anterior-superior", "LAS"), ("LPS", "LPS")],
)
def test_all_spaces_of_patients_are_read(path, space, orientation):
    geometry = read_volume(nrrd(path, space=space)).geometry
    assert geometry.orientation == orientation
    signs = [1 if letter in "RAS" else -1 for letter in orientation]
    np.testing.assert_allclose(geometry.ijk_to_ras[:3, 3], np.multiply(signs, (3, -4, 5)))


@pytest.mark.parametrize("origin", [None, "(nan,nan,nan)"])
def test_a_missing_place_is_not_invented(path, origin):
    refused(nrrd(path, space_origin=origin), GeometryError, 'no "space origin"')


@pytest.mark.parametrize("space", [None, "scanner-xyz", "left-posterior-inferior"])
def test_a_space_that_does_not_say_where_left_is_is_refused(path, space):
    refused(nrrd(path, space=space), GeometryError, "left and right", space or '"space" is ""')


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        (None, "where its axes point to"),
        ("none (0,1,0) (0,0,1)", "where its axes point to"),
        ("(0,0,0) (0,1,0) (0,0,1)", "spacing (0, 1, 1) mm"),
        ("(1,0,0) (0.5,1,0) (0,0,1)", "sheared"),
        ("(1,0,0) (1,0,0) (0,0,1)", "degenerate"),
    ],
)
def test_axes_without_a_place_in_space_are_refused(path, directions, words):
    refused(nrrd(path, space_directions=directions), InputError, words)


@pytest.mark.parametrize("kind", ["time", "list", "RGB-color"])
def test_an_axis_that_is_none_of_space_by_its_kind_has_no_direction_there(path, kind):
    """Frames of a time series would become slices."""
    refused(nrrd(path, kinds=f"domain domain {kind}"), GeometryError, "contradicts itself", kind.casefold())
    assert read_volume(nrrd(path, kinds="space domain ???")).geometry.size == (12, 11, 10)


@pytest.mark.parametrize(
    ("unit", "mm"), [("mm", 1), ("cm", 10), ("m", 1000), ("um", 0.001), ("µm", 0.001), ("microns", 0.001)]
)
def test_units_of_space_are_converted(path, unit, mm):
    directions = f"({1 / mm:g},0,0) (0,{1 / mm:g},0) (0,0,{2 / mm:g})"
    origin = f"({3 / mm:g},{-4 / mm:g},{5 / mm:g})"
    units = " ".join([f'"{unit}"'] * 3)
    volume = read_volume(nrrd(path, space_directions=directions, space_origin=origin, space_units=units))
    assert volume.geometry.close_to(Geometry((12, 11, 10), (1, 1, 2), (3, -4, 5)), 1e-9)
    assert volume.warnings == ()


def test_axes_of_space_with_different_units_are_converted(path):
    volume = read_volume(
        nrrd(path, space_directions="(0,1,0) (0.1,0,0) (0,0,2)", space_units='"cm" "mm" "mm"')
    )
    np.testing.assert_allclose(volume.geometry.spacing, (1, 1, 2))


@pytest.mark.parametrize(
    "units", ['"inch" "inch" "inch"', '"mm" "mm"', "mm mm mm", '"pixel" "mm" "mm"', '"cm" "" "cm"']
)
def test_an_unknown_unit_of_space_is_refused(path, units):
    refused(nrrd(path, space_units=units), UnsupportedImageError, "space units", "convert it to mm")


@pytest.mark.parametrize("units", ['"cm" "cm" "cm"', '"inch" "" ""'])
def test_units_of_axes_other_than_mm_are_refused(path, units):
    refused(nrrd(path, units=units), UnsupportedImageError, "units", "convert it to mm")


def test_without_a_unit_mm_are_taken_and_an_odd_size_is_warned_of(path):
    (warning,) = read_volume(nrrd(path, space_directions="(0.1,0,0) (0,0.1,0) (0,0,0.2)")).warnings
    assert "does not say the unit" in warning
    assert "1.2 x 1.1 x 2 mm large" in warning


@pytest.mark.parametrize("field", ["spacings: 1 1 1", "axis mins: 0 0 0"])
def test_a_place_that_is_given_twice_is_refused(path, field):
    refused(nrrd(path, more=field), GeometryError, "says its place twice")


def test_a_field_that_is_given_twice_and_differently_is_refused(path):
    refused(nrrd(path, more="sizes: 12 10 11"), UnreadableImageError, '"sizes" twice and differently')


@pytest.mark.parametrize("name", ["type", "dimension", "sizes", "encoding", "endian"])
def test_a_missing_field_is_refused(path, name):
    refused(nrrd(path, **{name: None}), UnreadableImageError, f'"{name}"')


@pytest.mark.parametrize(
    "field", ["thicknesses", "kinds", "labels", "centerings", "content", "measurement frame", "sample units"]
)
def test_long_fields_that_do_not_matter_are_skipped(path, field):
    assert read_volume(nrrd(path, more=f"{field}: " + "x " * 750)).geometry.size == (12, 11, 10)


@pytest.mark.parametrize(
    "field", ["space directions", "space origin", "sizes", "type", "encoding", "space units"]
)
def test_long_fields_that_matter_are_refused(path, field):
    refused(nrrd(path, **{field: "(" * 1500}), InputError)


@pytest.mark.parametrize(
    "size", ["12 11", "12 11 -10", "12 11 0", "4294967296 4294967296 4", "a b c", "12 11 10.0"]
)
def test_an_impossible_size_is_refused(path, size):
    refused(nrrd(path, sizes=size), InputError)


@pytest.mark.parametrize("dimension", ["-1", "0", "2", "17", "4294967299", "3 3", "x"])
def test_an_impossible_dimension_is_refused(path, dimension):
    refused(nrrd(path, dimension=dimension), InputError)


@pytest.mark.parametrize("encoding", ["bzip2", "zstd", "%s"])
def test_an_unknown_encoding_is_refused(path, encoding):
    refused(nrrd(path, encoding=encoding), UnsupportedImageError, "save it as raw or gzip")


@pytest.mark.parametrize("encoding", ["gzip", "gz", "ascii", "text", "hex"])
def test_gzip_text_and_hexadecimal_encodings_are_read(path, encoding):
    raw = noise().astype("<f4").tobytes()
    voxels = {
        "g": lambda: gzip.compress(raw[:999]) + gzip.compress(raw[999:]),
        "a": lambda: "\n".join(f"{value:.9g}" for value in noise().ravel()).encode(),
        "h": lambda: raw.hex(" ").encode(),
    }
    made = voxels["a" if encoding == "text" else encoding[0]]()
    np.testing.assert_array_equal(read_volume(nrrd(path, made, encoding=encoding)).array[0], noise())


def test_lines_and_bytes_before_the_voxels_are_skipped(path):
    voxels = noise().astype("<f4").tobytes()
    nrrd(path, b"one\ntwo\nxyz" + voxels, more="line skip: 2\nbyte skip: 3")
    np.testing.assert_array_equal(read_volume(path).array[0], noise())
    nrrd(path, b"any header\n" + voxels, more="byte skip: -1")
    np.testing.assert_array_equal(read_volume(path).array[0], noise())
    nrrd(path, gzip.compress(b"xyz" + voxels), encoding="gzip", more="byte skip: 3")
    np.testing.assert_array_equal(read_volume(path).array[0], noise())


@pytest.mark.parametrize(
    "skip", ["byte skip: -2", "line skip: -1", "byte skip: 99999999999", "line skip: 1e3"]
)
def test_impossible_skips_are_refused(path, skip):
    refused(nrrd(path, more=skip), UnreadableImageError)


def test_a_stream_that_is_shorter_or_longer_than_the_header_says_is_refused(path):
    raw = noise().astype("<f4").tobytes()
    refused(nrrd(path, raw[:-1]), UnreadableImageError, "its last 1 bytes are missing")
    refused(nrrd(path, raw * 2), UnreadableImageError, "more than the header of image.nrrd says")
    refused(nrrd(path, zlib.compress(raw * 2), encoding="gzip"), UnreadableImageError, "more than the header")
    refused(nrrd(path, zlib.compress(raw)[:-2], encoding="gzip"), UnreadableImageError, "ends early")


def test_a_small_stream_that_becomes_huge_is_not_unpacked_to_its_end(path):
    bomb = zlib.compress(bytes(2**25))
    refused(nrrd(path, bomb, encoding="gzip"), UnreadableImageError, "more than the header")


def test_a_header_that_claims_more_voxels_than_the_file_can_hold_takes_no_memory(path):
    for encoding in ("raw", "gzip", "ascii", "hex"):
        refused(nrrd(path, sizes="3000 3000 3000", encoding=encoding), UnreadableImageError, "are missing")


def test_the_order_of_bytes_in_the_header_is_followed(path):
    nrrd(path, noise().astype(">f4").tobytes(), endian="big")
    np.testing.assert_array_equal(read_volume(path).array[0], noise())


def test_lines_may_end_as_on_windows(path):
    content = nrrd(path).read_bytes()
    header, _, voxels = content.partition(b"\n\n")
    path.write_bytes(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + voxels)
    np.testing.assert_array_equal(read_volume(path).array[0], noise())
