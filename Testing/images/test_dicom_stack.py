"""DICOM slices are stacked if they make one image of one patient; doubts are warnings."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.images.dicom_files import change, write_series
from mednext.errors import GeometryError, UnsupportedImageError
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume
from pydicom.uid import MRImageStorage, generate_uid

GRID = Geometry((12, 11, 8), (0.8, 0.7, 2.5), (-40.0, 12.0, 30.0))


@pytest.fixture
def hounsfield():
    return np.random.default_rng(0).integers(-1024, 2000, GRID.shape)


@pytest.fixture
def series(tmp_path, hounsfield):
    folder = tmp_path / "ct"
    write_series(folder, hounsfield, GRID)
    return folder


def warnings(folder):
    return " ".join(read_volume(folder).warnings)


def written(folder, count, gap, thickness=None):
    grid = Geometry((12, 11, count), (0.8, 0.7, gap))
    write_series(folder, np.random.default_rng(0).integers(-1024, 2000, grid.shape), grid)
    change(folder, lambda dataset, _: setattr(dataset, "SliceThickness", thickness))
    return folder


def test_a_sound_series_gives_no_warning(series):
    assert read_volume(series).warnings == ()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("thickness", [2.0, None])
def test_slices_far_apart_are_refused(tmp_path, count, thickness):
    with pytest.raises(GeometryError, match=f"has {count} slices 46.00 mm apart"):
        read_volume(written(tmp_path, count, 46.0, thickness))


def test_two_thin_slices_with_a_gap_between_them_are_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"2 slices 7\.00 mm apart, each 2\.00 mm thick"):
        read_volume(written(tmp_path, 2, 7.0, 2.0))


def test_two_slices_that_touch_are_read_with_a_warning(tmp_path):
    assert "whether one between them is missing" in warnings(written(tmp_path, 2, 5.0, 5.0))


def test_thin_slices_at_wide_even_gaps_are_read_with_a_warning(tmp_path):
    """As in high resolution CT of the lung."""
    assert "which were not imaged" in warnings(written(tmp_path, 6, 10.0, 1.0))


def test_gaps_that_differ_from_spacing_between_slices_are_warned_of(series):
    """Every second slice may be missing although the gaps are even."""

    def tell(dataset, _number):
        dataset.SliceThickness = dataset.SpacingBetweenSlices = 1.25

    change(series, lambda dataset, number: setattr(dataset, "SpacingBetweenSlices", 2.5))
    assert not warnings(series)
    change(series, lambda dataset, number: tell(dataset, number) or setattr(dataset, "SliceThickness", 1))
    assert "SpacingBetweenSlices" in warnings(series)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionTime", ("120000", "120030")),
        ("EchoNumbers", (1, 2)),
        ("EchoTime", (4.6, 30)),
        ("DiffusionBValue", (0.0, 800.0)),
        ("KVP", (80, 140)),
        ("ConvolutionKernel", ("B30f", "B70f")),
        ("ContrastBolusAgent", ("", "Iodine")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("SeriesDescription", ("arterial", "venous")),
        ("NominalPercentageOfCardiacPhase", (30.0, 70.0)),
    ],
)
def test_two_stacks_half_a_gap_apart_are_not_woven_together(series, name, values):
    change(series, lambda dataset, number: setattr(dataset, name, values[number % 2]))
    with pytest.raises(UnsupportedImageError, match=f"weaves slices .*{name}"):
        read_volume(series)


def test_two_stacks_that_differ_in_their_numbers_only_are_warned_of(series):
    change(
        series, lambda dataset, number: setattr(dataset, "InstanceNumber", number // 2 + number % 2 * 4 + 1)
    )
    assert "numbered to and fro" in warnings(series)


@pytest.mark.parametrize("stacks", [2, 3])
def test_stacks_that_differ_in_numbers_and_times_are_not_woven_together(tmp_path, stacks):
    grid = Geometry((12, 11, 12), (0.8, 0.7, 2.5))
    write_series(tmp_path, np.random.default_rng(0).integers(-1024, 2000, grid.shape), grid)

    def weave(dataset, number):
        dataset.Modality = "MR"
        dataset.AcquisitionTime = f"12{number % stacks:02}00"
        dataset.InstanceNumber = number % stacks * 12 + number // stacks + 1

    change(tmp_path, weave)
    with pytest.raises(UnsupportedImageError, match=r"weaves slices .*AcquisitionTime"):
        read_volume(tmp_path)


def test_mr_that_measures_every_second_slice_first_is_one_stack(series, hounsfield):
    def interleave(dataset, number):
        dataset.Modality, dataset.SOPClassUID = "MR", MRImageStorage
        dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        del dataset.RescaleType
        dataset.AcquisitionTime = f"1200{number % 2 * 30:02}"

    change(series, interleave)
    assert not warnings(series)


def test_mr_that_counts_every_second_slice_as_another_acquisition_is_warned_of(series):
    def interleave(dataset, number):
        dataset.Modality, dataset.AcquisitionNumber = "MR", number % 2 + 1

    change(series, interleave)
    assert "alternate between acquisitions (AcquisitionNumber 1, 2)" in warnings(series)


def test_acquisition_numbers_that_rise_from_rotation_to_rotation_are_one_stack(series):
    change(series, lambda dataset, number: setattr(dataset, "AcquisitionNumber", number // 2))
    assert not warnings(series)


def test_values_that_differ_by_rounding_are_the_same(series):
    change(series, lambda dataset, number: setattr(dataset, "EchoTime", (4.6, 4.61)[number % 2]))
    assert not warnings(series)


def test_a_stack_in_two_parts_made_in_different_ways_is_warned_of(series):
    change(
        series, lambda dataset, number: setattr(dataset, "ConvolutionKernel", ("B30f", "B70f")[number // 4])
    )
    assert "not all made in the same way (ConvolutionKernel B30f, B70f)" in warnings(series)


@pytest.mark.parametrize("name", ["PatientID", "FrameOfReferenceUID", "StudyInstanceUID"])
def test_slices_of_two_patients_in_one_series_are_refused_without_their_names(series, name):
    values = ["Smith", "Meyer"] if name == "PatientID" else [generate_uid(), generate_uid()]
    change(series, lambda dataset, number: setattr(dataset, name, values[number // 4]))
    with pytest.raises(UnsupportedImageError, match=f"2 different {name}s") as caught:
        read_volume(series)
    assert not any(value in str(caught.value) for value in values)


@pytest.mark.parametrize("without", [[0], [3], [1, 3, 5, 7]])
def test_slices_with_and_without_rescaling_are_not_mixed(series, without):
    def drop(dataset, number):
        if number in without:
            del dataset.RescaleSlope, dataset.RescaleIntercept

    change(series, drop)
    with pytest.raises(UnsupportedImageError, match=f"with and without RescaleSlope.*{len(without)} are"):
        read_volume(series)


@pytest.mark.parametrize(
    ("name", "values"),
    [("RescaleType", ("HU", "US")), ("Units", ("BQML", "CNTS")), ("Modality", ("CT", "PT"))],
)
def test_values_of_two_units_are_not_mixed(series, name, values):
    change(series, lambda dataset, number: setattr(dataset, name, values[number // 4]))
    with pytest.raises(UnsupportedImageError, match=f"several kinds \\({name}"):
        read_volume(series)


def test_a_ct_without_rescaling_is_warned_of(series):
    def drop(dataset, _number):
        del dataset.RescaleSlope, dataset.RescaleIntercept

    change(series, drop)
    assert "does not say how its values become HU" in warnings(series)


def test_a_ct_of_other_units_is_warned_of(series):
    change(series, lambda dataset, _: setattr(dataset, "RescaleType", "Z_EFF"))
    assert "Z_EFF (RescaleType), no HU" in warnings(series)


def test_one_uid_for_all_slices_is_warned_of(series):
    change(series, lambda dataset, _: setattr(dataset, "SOPInstanceUID", "1.2.3"))
    assert "same SOPInstanceUID" in warnings(series)


@pytest.mark.parametrize("kind", ["LOCALIZER", "MIP", "CSA MIP"])
def test_a_localizer_or_projection_within_a_series_is_skipped_and_reported(series, hounsfield, kind):
    def mark(dataset, number):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        if number == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", kind]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    change(series, mark)
    volume = read_volume(series)
    np.testing.assert_array_equal(volume.array[0], hounsfield[1:])
    assert "1 of 8 files of the series" in volume.warnings[0]
