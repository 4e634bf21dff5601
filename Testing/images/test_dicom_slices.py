"""A DICOM file must give place, spacing and form of its values, and its values are those stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from fixtures.images.dicom_files import change, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.errors import GeometryError, InputError, UnreadableImageError, UnsupportedImageError
from mednext.images.dicom.header import read_header
from mednext.images.dicom.slice import slice_of, voxels_of
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    RLELossless,
)

GRID = Geometry((12, 11, 6), (0.8, 0.7, 2.5), (-40.0, 12.0, 30.0))
AXES = {"sagittal": (0, 1, 0, 0, 0, -1), "prone": (-1, 0, 0, 0, -1, 0), "oblique": (0.8, 0.6, 0, 0, 0, -1)}


@pytest.fixture
def hounsfield():
    return np.random.default_rng(0).integers(-1024, 2000, GRID.shape)


@pytest.fixture
def series(tmp_path, hounsfield):
    folder = tmp_path / "ct"
    write_series(folder, hounsfield, GRID)
    return folder


def refused(series, change_one, error, *said, only=None):
    change(series, lambda dataset, number: change_one(dataset) if only in (None, number) else None)
    with pytest.raises(error) as caught:
        read_volume(series)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("only", [None, 3])
@pytest.mark.parametrize("name", ["ImageOrientationPatient", "PixelSpacing", "ImagePositionPatient"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_slice_without_an_attribute_of_its_place_is_refused_with_the_attributes_name(
    series, name, only, empty
):
    def drop(dataset):
        dataset[name].value = None
        if not empty:
            del dataset[name]

    refused(series, drop, GeometryError, name, "export the series anew", only=only)


@pytest.mark.parametrize("only", [None, 2])
@pytest.mark.parametrize(
    "cosines",
    [
        (0, 0, 0, 0, 0, 0),
        (1, 0, 0, 1, 0, 0),
        (1, 0, 0, 0.1, 0.995, 0),
        (1.1, 0, 0, 0, 1, 0),
        (2, 0, 0, 0, 0.5, 0),
        (1, 0, 0, 0, 1),
    ],
)
def test_an_orientation_that_is_not_two_perpendicular_unit_vectors_is_refused(series, cosines, only):
    def bend(dataset):
        dataset.ImageOrientationPatient = list(cosines)

    refused(series, bend, GeometryError, "impossible ImageOrientationPatient", only=only)


@pytest.mark.parametrize("spacing", [(0, 0.8), (0.7, -0.8), (0.7,), (0.7, 0.8, 1)])
def test_a_spacing_that_is_not_two_positive_numbers_is_refused(series, spacing):
    def shrink(dataset):
        dataset.PixelSpacing = list(spacing)

    refused(series, shrink, GeometryError, "impossible PixelSpacing")


def test_the_spacing_at_the_detector_does_not_stand_for_that_in_the_patient(series):
    def at_detector(dataset):
        dataset.ImagerPixelSpacing = dataset.NominalScannedPixelSpacing = dataset.PixelSpacing
        del dataset.PixelSpacing

    refused(series, at_detector, GeometryError, "lacks the attribute PixelSpacing")


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_a_series_of_any_orientation_is_read_where_it_lies(tmp_path, hounsfield, axes):
    row, column = np.reshape(axes, (2, 3)).astype(float)
    direction = np.column_stack([row, column, np.cross(row, column)])
    grid = Geometry(GRID.size, GRID.spacing, GRID.origin, tuple(direction.ravel()))
    write_series(tmp_path, hounsfield, grid)
    volume = read_volume(tmp_path)
    assert volume.geometry.close_to(grid, tolerance=1e-4) and not volume.warnings
    np.testing.assert_array_equal(volume.array[0], hounsfield)


def test_cosines_of_three_decimals_are_exact_enough(series, hounsfield):
    def round_off(dataset, _number):
        dataset.ImageOrientationPatient = [0.985, 0.174, 0, -0.174, 0.985, 0]

    change(series, round_off)
    np.testing.assert_array_equal(read_volume(series).array[0], hounsfield)


@pytest.mark.parametrize("only", [None, 2])
def test_black_for_high_values_does_not_invert_the_values(series, hounsfield, only):
    def invert(dataset, number):
        if only in (None, number):
            dataset.PhotometricInterpretation = "MONOCHROME1"

    change(series, invert)
    np.testing.assert_array_equal(read_volume(series).array[0], hounsfield)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_black_for_high_values_keeps_values_of_every_type(series, bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    stored = np.random.default_rng(1).integers(low, high, GRID.shape)

    def store(dataset, number):
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.BitsAllocated = 8 if bits == 8 else 16
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
        dataset.RescaleIntercept = "0"
        kind = f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}"
        dataset.PixelData = stored[number].astype(kind).tobytes()
        dataset["PixelData"].VR = "OW"

    change(series, store)
    np.testing.assert_array_equal(read_volume(series).array[0], stored)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_every_usual_transfer_syntax_is_read(series, hounsfield, syntax):
    for file in series.iterdir():
        dataset = pydicom.dcmread(file)
        if syntax == RLELossless:
            dataset.compress(syntax, encoding_plugin="pydicom")
        elif syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        bare = Dataset(dataset)
        bare.file_meta = dataset.file_meta
        bare.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(file, bare, enforce_file_format=True)
    volume = read_volume(series)
    np.testing.assert_array_equal(volume.array[0], hounsfield)
    assert volume.geometry.close_to(GRID, tolerance=1e-4)


@pytest.mark.parametrize("form", ["bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "RLE"])
def test_compressed_files_hold_the_same_values_as_plain_ones(form):
    """On files that come with pydicom."""
    plain, other = (get_testdata_file(f"MR_small{end}.dcm", download=False) for end in ("", f"_{form}"))
    if not plain or not other:
        pytest.skip("this pydicom comes without its test files")
    expected = slice_of(read_header(Path(plain)))
    found = slice_of(read_header(Path(other)))
    np.testing.assert_array_equal(voxels_of(found), voxels_of(expected))
    np.testing.assert_allclose(found.position, expected.position)
    np.testing.assert_allclose(found.direction, expected.direction)
    assert found.spacing == expected.spacing and np.ptp(voxels_of(found)) > 100


def test_a_compression_that_cannot_be_decoded_is_named(series):
    """High-throughput JPEG 2000, which GDCM does not know: the file is not damaged."""

    def compress(dataset):
        dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
        dataset.PixelData = pydicom.encaps.encapsulate([bytes(1000)])
        dataset["PixelData"].is_undefined_length = True

    refused(
        series, compress, UnreadableImageError, f"syntax {HTJ2KLossless}", "convert the series to Explicit"
    )


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_before_the_position_are_skipped(series, hounsfield, undefined):
    def nest(dataset, _number):
        inner = Dataset()
        inner.PixelSpacing = [9, 9]
        inner.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
        item = Dataset()
        item.ReferencedImageSequence = [inner, inner]
        block = dataset.private_block(0x0019, "MEDNEXT", create=True)
        block.add_new(1, "SQ", [item])
        dataset.SourceImageSequence = [item]
        for element in (dataset[block.get_tag(1)], item["ReferencedImageSequence"]):
            element.is_undefined_length = undefined

    change(series, nest)
    np.testing.assert_array_equal(read_volume(series).array[0], hounsfield)


@pytest.mark.parametrize(
    ("name", "value"), [("BitsStored", 0), ("BitsStored", 17), ("HighBit", 3), ("PixelRepresentation", 2)]
)
def test_values_that_are_not_in_the_lowest_bits_are_refused(series, name, value):
    refused(series, lambda dataset: setattr(dataset, name, value), UnsupportedImageError, name, str(value))


@pytest.mark.parametrize("name", ["BitsStored", "HighBit", "PixelRepresentation", "Rows"])
def test_the_form_of_the_values_is_not_guessed(series, name):
    refused(series, lambda dataset: delattr(dataset, name), InputError, name)


def test_an_overlay_in_the_unused_bits_is_not_part_of_the_values(series):
    stored = np.random.default_rng(1).integers(0, 4096, GRID.shape)

    def draw(dataset, number):
        dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 12, 11, "0"
        dataset.PixelData = (stored[number] + 0x8000 * (stored[number] % 2)).astype("<u2").tobytes()

    change(series, draw)
    np.testing.assert_array_equal(read_volume(series).array[0], stored)


@pytest.mark.parametrize("value", ["0", "nan", "1e999"])
def test_an_impossible_slope_is_refused(series, value):
    def spoil(dataset):
        dataset.RescaleSlope = pydicom.valuerep.DSfloat(1)
        dataset["RescaleSlope"]._value = value

    refused(series, spoil, InputError, "impossible RescaleSlope")


def test_a_slope_without_an_intercept_is_refused(series):
    def drop(dataset):
        del dataset.RescaleIntercept

    refused(series, drop, UnsupportedImageError, "RescaleSlope without the other")


def test_values_rescaled_by_a_table_are_refused(series):
    def tabulate(dataset):
        del dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType
        dataset.ModalityLUTSequence = [Dataset()]

    refused(series, tabulate, UnsupportedImageError, "ModalityLUTSequence")


def test_too_few_pixels_for_rows_and_columns_are_refused_and_not_filled_up(series):
    def cut(dataset):
        dataset.PixelData = dataset.PixelData[:-40]

    refused(series, cut, UnreadableImageError, "bytes for 12 x 11 pixels", only=1)


@pytest.mark.parametrize("rest", [b"x" * 64, bytes(range(1, 200)), b"\xe1\x7f\x10\x10OB\0\0\0\0\0\x90abc"])
def test_bytes_after_the_pixels_for_which_gdcm_would_take_gigabytes_are_refused(series, rest):
    file = next(series.iterdir())
    file.write_bytes(file.read_bytes() + rest)
    with pytest.raises(UnreadableImageError, match="damaged DICOM file"):
        read_volume(series)


@pytest.mark.parametrize("rest", [bytes(512), b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0", b"\0\0"])
def test_padding_after_the_pixels_is_allowed(series, hounsfield, rest):
    for file in series.iterdir():
        file.write_bytes(file.read_bytes() + rest)
    assert np.array_equal(read_volume(series).array[0], hounsfield)


def test_an_attribute_that_occurs_twice_with_different_values_is_refused(series):
    file = next(series.iterdir())
    content = file.read_bytes()
    at = content.index(b"\x28\x00\x30\x00DS")
    length = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    again = content[at : at + length].replace(b"0.7", b"0.9")
    file.write_bytes(content[: at + length] + again + content[at + length :])
    with pytest.raises(UnreadableImageError, match="PixelSpacing stands there twice"):
        read_volume(series)


def test_a_file_of_many_pixels_and_few_bytes_takes_no_memory(series):
    file = next(series.iterdir())
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless, encoding_plugin="pydicom")
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(file)
    with pytest.raises(UnreadableImageError, match="bytes for 65535 x 65535 pixels"):
        slice_of(read_header(file))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_header_with_changed_bytes_is_read_or_refused(tmp_path_factory, seed):
    """Any bytes lead to an image or to an error of our tree."""
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("dicom")
    write_series(folder, np.zeros((1, 4, 4)), Geometry((4, 4, 1), (1, 1, 1)))
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes()[: int(rng.integers(140, 1500))])
    for at in rng.integers(0, len(content), 8):
        content[at] = rng.integers(0, 256)
    file.write_bytes(content)
    header = read_header(file)
    if header is not None:
        try:
            assert slice_of(header).size[0] >= 1
        except InputError as error:
            assert file.name in str(error)
