"""DICOM SEG of series with unusual but valid headers, and of series without the needed UIDs."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pydicom
import pytest
from fixtures.images.dicom_files import change, write_series
from mednext.cli import main
from mednext.errors import OutputError
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume
from mednext.model.labels import Label
from mednext.segmentation.export import write_segmentation
from mednext.segmentation.formats.dicom_seg import check_dicom_seg
from mednext.segmentation.result import Segmentation

GRID = Geometry((12, 11, 6), (0.8, 0.7, 2.5), (-40.0, 12.0, 30.0))
NAME = "Meyer zu Hintertupfingen"  # without ^, which highdicom warns of


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "ct"
    write_series(folder, np.random.default_rng(0).integers(-1000, 1000, GRID.shape), GRID)
    return folder


def written(tmp_path, source, label="liver", provenance=None):
    labelmap = np.zeros(GRID.shape, np.uint8)
    labelmap[2:4, 3:6, 4:8] = 1
    segmentation = Segmentation(labelmap, GRID, (Label(1, label, (1, 2, 3)),), provenance or {})
    check_dicom_seg(source)
    write_segmentation(tmp_path / "liver.dcm", segmentation, source=source)
    return pydicom.dcmread(tmp_path / "liver.dcm")


def set_raw(dataset, name, value):
    """A value that pydicom would refuse to make."""
    if value is None:
        if name in dataset:
            del dataset[name]
        return
    dataset.add(pydicom.DataElement(name, "UT", value))
    dataset[name].VR = pydicom.datadict.dictionary_VR(name)


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize(
    ("name", "value", "becomes"),
    [
        ("SliceThickness", "", 2.5),
        ("SliceThickness", None, 2.5),
        ("SliceThickness", "0", 2.5),
        ("StudyID", None, ""),
        ("StudyID", "", ""),
        ("AccessionNumber", None, ""),
        ("ReferringPhysicianName", None, ""),
        ("PatientID", None, ""),
        ("PatientID", "x" * 70, "x" * 70),
        ("PatientName", None, ""),
        ("PatientSex", "U", ""),
        ("PatientSex", "male", ""),
        ("PatientSex", "f", "F"),
        ("PatientSex", None, ""),
        ("PatientBirthDate", "1954", ""),
        ("PatientBirthDate", "00000000", ""),
        ("PatientBirthDate", None, ""),
        ("StudyDate", "2026/01/01", ""),
        ("StudyDate", "unknown", ""),
        ("StudyDate", "20261341", ""),
        ("StudyDate", "2026.01.31", "20260131"),
        ("StudyTime", "12:30:00", "123000"),
        ("StudyTime", "noon", ""),
        ("StudyTime", "250000", ""),
        ("StudyTime", None, ""),
        ("PatientAge", "old", None),
        ("PatientWeight", "70 kg", None),
        ("SpacingBetweenSlices", "", None),
        ("StudyDescription", "y" * 100, "y" * 100),
    ],
)
def test_missing_elements_that_may_be_empty_are_added(tmp_path, source, name, value, becomes):
    change(source, lambda dataset, _: set_raw(dataset, name, value))
    result = written(tmp_path, source)
    if name == "SliceThickness":
        measures = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert measures.SliceThickness == becomes
    else:
        assert (str(result[name].value or "") if name in result else None) == becomes


def test_positions_of_more_digits_than_dicom_allows_are_kept(tmp_path, source):
    def lengthen(dataset, _number):
        for name in ("ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient", "SliceThickness"):
            values = np.atleast_1d(np.array(dataset[name].value, float))
            set_raw(dataset, name, "\\".join(f"{value:.20f}" for value in values))

    change(source, lengthen)
    volume = read_volume(source)
    frames = written(tmp_path, source).PerFrameFunctionalGroupsSequence
    positions = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
    assert volume.geometry.close_to(GRID, 1e-4)
    np.testing.assert_allclose(sorted(map(list, positions)), [(-40, 12, 35), (-40, 12, 37.5)], atol=1e-5)


@pytest.mark.parametrize("name", ["SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_series_that_cannot_be_referred_to_is_refused_by_the_attributes_name(source, name):
    change(source, lambda dataset, _: set_raw(dataset, name, None))
    with pytest.raises(OutputError, match=f"without {name}"):
        check_dicom_seg(source)


def test_one_uid_for_several_slices_is_refused_before_the_run(source, tmp_path, capsys):
    change(source, lambda dataset, number: setattr(dataset, "SOPInstanceUID", f"1.2.{number // 2 + 1}"))
    with pytest.raises(OutputError, match=r"2 slices of .* have the same SOPInstanceUID"):
        check_dicom_seg(source)
    output = tmp_path / "liver.dcm"
    assert main(["segment", str(source), "--model", "a model that is not there", "-o", str(output)])
    assert "the same SOPInstanceUID" in capsys.readouterr().err


def test_warnings_and_logs_do_not_name_the_patient(source, tmp_path, capfd, caplog):
    def name(dataset, _number):
        dataset.PatientName = NAME
        set_raw(dataset, "PatientSex", NAME)
        set_raw(dataset, "StudyDate", NAME)

    change(source, name)
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        assert written(tmp_path, source).PatientName == NAME
    told = capfd.readouterr()
    assert not warned
    assert "values of StudyDate, PatientSex in" in caplog.text
    assert "Meyer" not in told.err + told.out + caplog.text


def test_long_names_of_labels_and_models_are_cut(source, tmp_path):
    long = "left\\" + "lobe of the liver " * 10
    result = written(tmp_path, source, long, {"task": long, "model": long, "model_version": long})
    assert result.SegmentSequence[0].SegmentLabel == f"left/{'lobe of the liver ' * 10}"[:64].strip()
    assert len(result.SeriesDescription) <= 64


def test_files_without_a_preamble_are_accepted(source, tmp_path):
    for file in source.iterdir():
        bare = pydicom.Dataset(pydicom.dcmread(file))
        pydicom.dcmwrite(file, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert written(tmp_path, source).Modality == "SEG"
