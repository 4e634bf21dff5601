"""Folders with several DICOM series: one is taken, others are skipped, each file is read once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fixtures.batch.cases import noise
from fixtures.images.dicom_files import change, write_series
from fixtures.models.bundles import tiny_model
from mednext.batch.case_finding import find_cases
from mednext.errors import OutOfMemoryError, UnreadableImageError
from mednext.images.dicom import header as dicom_header
from mednext.images.dicom import series
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume
from mednext.model.description import Channel
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

GRID = Geometry((22, 20, 18), (1.0, 1.0, 1.0))
SMALL = np.arange(48).reshape(3, 4, 4) * 10
CT = tiny_model(channels=(Channel("CT", "CT", "none"),))
STUDY = "1.2.826.0.1.3680043.8.498.1"
NO_IMAGES = {
    "SR": "1.2.840.10008.5.1.4.1.1.88.22",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
    "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
    "OT": "1.2.840.10008.5.1.4.1.1.66",
    "REG": "1.2.840.10008.5.1.4.1.1.66.1",
    "ECG": "1.2.840.10008.5.1.4.1.1.9.1.1",
    "XX": "1.3.12.2.1107.5.9.1",
}


def write_object(folder: Path, modality: str, sop_class: str, *, rows: bool = False) -> None:
    """Write a DICOM object without slices, in the study of the series beside it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, generate_uid()
    dataset.Modality, dataset.PatientName = modality, "Nobody"
    if rows:
        dataset.Rows = dataset.Columns = 4
        dataset.BitsAllocated, dataset.SamplesPerPixel = 8, 1
        dataset.add_new("PixelData", "OB", bytes(16))
    dataset.save_as(folder / f"{modality}.dcm", enforce_file_format=True)


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    write_series(folder, noise(), GRID, description="Abdomen", study_uid=STUDY)
    return folder


def left_out(folder, model=CT):
    return {case.name: case.left_out for case in find_cases(folder, model).cases if case.left_out}


def test_objects_that_are_not_images_are_skipped_and_reported(study):
    for modality, sop_class in NO_IMAGES.items():
        write_object(study, modality, sop_class)
    write_object(study, "SEG", "1.2.840.10008.5.1.4.1.1.66.4", rows=True)
    write_object(study, "RTDOSE", "1.2.840.10008.5.1.4.1.1.481.2", rows=True)
    volume = read_volume(study)
    assert volume.geometry.shape == GRID.shape
    assert "were left out" in volume.warnings[0] and "holds no images" in volume.warnings[0]
    cases = find_cases(study, CT).cases
    assert [(case.name, case.problem) for case in cases if not case.left_out] == [("study", None)]
    assert len(left_out(study)) == len(NO_IMAGES) + 2


def test_a_damaged_object_that_is_not_an_image_is_skipped(study):
    write_object(study, "RTSTRUCT", NO_IMAGES["RTSTRUCT"])
    file = study / "RTSTRUCT.dcm"
    file.write_bytes(file.read_bytes()[:-3])
    assert read_volume(study).geometry.shape == GRID.shape


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "localizer"),
        (["DERIVED", "SECONDARY", "REFORMATTED", "MIP"], "projection"),
        (["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"], "made of other images"),
    ],
)
def test_scouts_projections_and_reformatted_series_are_skipped_beside_the_original(study, kind, why):
    write_series(study / "other", noise(1), GRID, description="Other", study_uid=STUDY)
    change(study / "other", lambda dataset, _: setattr(dataset, "ImageType", kind))
    (reason,) = left_out(study).values()
    assert why in reason


def test_a_reformatted_series_alone_is_segmented(study):
    change(study, lambda dataset, _: setattr(dataset, "ImageType", ["DERIVED", "SECONDARY", "MPR"]))
    assert not left_out(study)


def test_a_scout_beside_a_series_needs_no_choice(study):
    write_series(study, noise()[:1], GRID, description="Topogram", study_uid=STUDY)
    volume = read_volume(study)
    assert volume.geometry.shape == GRID.shape
    assert 'CT "Topogram", 1 file: It is a single slice.' in volume.warnings[0]


def test_a_localizer_that_is_chosen_is_read_with_a_warning(study):
    change(study, lambda dataset, _: setattr(dataset, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert "localizer" in read_volume(study).warnings[0]


def test_a_damaged_file_fails_its_own_series_only(study):
    write_series(study, noise(1), GRID, description="Lung", study_uid=STUDY)
    file = next(file for file in study.iterdir() if pydicom.dcmread(file).SeriesDescription == "Lung")
    file.write_bytes(file.read_bytes()[:-50])
    problems = {case.source.split("#")[1]: case.problem for case in find_cases(study, CT).cases}
    assert sorted(problem is None for problem in problems.values()) == [False, True]
    assert read_volume(f"{study}#{next(uid for uid in problems if not problems[uid])}")


def test_three_hundred_series_are_not_all_listed(tmp_path):
    for number in range(14):
        write_series(tmp_path, SMALL[:2], Geometry((4, 4, 2), (1, 1, 1)), description=f"s{number}")
    with pytest.raises(UnreadableImageError, match=r"holds 14 series, .*; and 4 more\.") as caught:
        read_volume(tmp_path)
    assert str(caught.value).count("files)") == 10


def test_a_slice_is_found_whatever_its_file_is_called(study):
    files = sorted(study.iterdir())
    for file, name in zip(files, ("IM.raw", "a.txt", "DICOMDIR", "slice.gz"), strict=False):
        file.rename(study / name)
    assert read_volume(study).geometry.shape == GRID.shape
    assert [case.problem for case in find_cases(study, CT).cases][-1] is None


def test_a_series_without_a_uid_is_one_series(study):
    def drop(dataset, _number):
        del dataset.SeriesInstanceUID

    change(study, drop)
    assert read_volume(study).geometry.shape == GRID.shape


def test_every_file_of_a_flat_folder_is_read_once_for_all_series(tmp_path, monkeypatch):
    uids = [write_series(tmp_path, SMALL, Geometry((4, 4, 3), (1, 1, 1))) for _ in range(4)]
    read = []
    parser = dicom_header.Parser

    def counted(content, size):
        read.append(content.name)
        return parser(content, size)

    monkeypatch.setattr(dicom_header, "Parser", counted)
    find_cases(tmp_path, CT)
    for uid in uids:
        read_volume(f"{tmp_path}#{uid}")
    assert len(read) == len(set(read)) == 12


def test_a_file_that_has_changed_is_read_again_even_if_its_size_and_time_are_the_same(study):
    """As when an archive of another series is unpacked in the place of the first."""
    before = read_volume(study).geometry
    for file in study.iterdir():
        state, content = file.stat(), file.read_bytes()
        file.write_bytes(content.replace(b"DS\x04\x001\\1 ", b"DS\x04\x002\\2 "))
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert file.read_bytes() != content and file.stat().st_size == state.st_size
    assert (before.spacing[0], read_volume(study).geometry.spacing[0]) == (1.0, 2.0)


def test_a_series_larger_than_the_memory_is_refused_before_it_is_read(study, monkeypatch):
    monkeypatch.setattr(series, "obtainable_memory", lambda: 1000)
    with pytest.raises(OutOfMemoryError, match=r"not enough memory for the voxels of .*study"):
        read_volume(study)
