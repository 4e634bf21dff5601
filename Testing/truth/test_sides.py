"""Left and right, front and back, top and bottom are the same for each reader, however the image is stored.

A phantom with structures on known places of the patient is stored along each of the 48 orientations, straight
and turned so that no axis is one of the patient's, in each image format. Our readers read it, thresholds
stand for the network, our writers write the result in each format, and programs of others read that: nibabel,
SimpleITK, highdicom, dcmqi, and Slicer's own MRML.
The suite takes some orientations; MEDNEXT_ALL_ORIENTATIONS=1 takes all (`make truth`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.images.dicom_files import write_series
from fixtures.images.geometries import ORIENTATIONS
from fixtures.images.sides_phantom import (
    OBLIQUE,
    STRAIGHT,
    Found,
    assert_true,
    by_dcmqi,
    by_highdicom,
    by_nibabel,
    by_nibabels_qform,
    by_sitk,
    by_slicer,
    centres,
    phantom,
    segmented,
    write_by_nibabel,
    write_by_sitk,
)
from mednext.images.geometry import Geometry
from mednext.segmentation.export import write_segmentation

EVERY = os.environ.get("MEDNEXT_ALL_ORIENTATIONS") == "1"
TURNS = {"straight": STRAIGHT, "oblique": OBLIQUE}
FILE_GRIDS = list(itertools.product(ORIENTATIONS, TURNS))
# A series of slices has no left-handed grids: its third axis follows from the slices' positions.
DICOM_GRIDS = list(itertools.product(ORIENTATIONS[::2], TURNS))
if not EVERY:
    FILE_GRIDS, DICOM_GRIDS = FILE_GRIDS[::11], DICOM_GRIDS[::13]
WRITERS: dict[str, Callable[[Path, np.ndarray, Geometry], None]] = {
    "image.nii.gz": write_by_nibabel,
    "image.nrrd": write_by_sitk,
    "image.mha": write_by_sitk,
}
READERS: dict[str, tuple[Callable[[Path], Found], ...]] = {
    "result.nii.gz": (by_nibabel, by_nibabels_qform, by_sitk),
    "result.nrrd": (by_sitk,),
    "result.mha": (by_sitk,),
    "result.seg.nrrd": (by_sitk, by_slicer),
}


@pytest.mark.parametrize("stored", WRITERS)
@pytest.mark.parametrize(("orientation", "turn"), FILE_GRIDS)
def test_each_reader_sees_each_structure_of_a_file_in_its_place(orientation, turn, stored, tmp_path):
    WRITERS[stored](tmp_path / stored, *phantom(orientation, TURNS[turn]))
    result = segmented(tmp_path / stored)
    for name, readers in READERS.items():
        write_segmentation(tmp_path / name, result)
        for reader in readers:
            assert_true(reader(tmp_path / name), TURNS[turn])


@pytest.mark.parametrize(("orientation", "turn"), DICOM_GRIDS)
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
def test_each_reader_sees_each_structure_of_a_series_in_its_place(orientation, turn, descending, tmp_path):
    series = tmp_path / "series"
    write_series(series, *phantom(orientation, TURNS[turn]), descending=descending)
    result = segmented(series)
    write_segmentation(tmp_path / "result.dcm", result, source=series)
    assert_true(by_highdicom(tmp_path / "result.dcm"), TURNS[turn])
    assert_true(by_dcmqi(tmp_path / "result.dcm"), TURNS[turn])
    write_segmentation(tmp_path / "result.seg.nrrd", result)
    assert_true(by_slicer(tmp_path / "result.seg.nrrd"), TURNS[turn])
    write_segmentation(tmp_path / "result.nii.gz", result)
    assert_true(by_nibabel(tmp_path / "result.nii.gz"), TURNS[turn])


def test_the_phantom_would_show_a_changed_side():
    array, geometry = phantom("RAS")
    changed = centres(
        np.where(array == 300, 2, np.where(array == 600, 1, np.where(array == 900, 5, 0))).T,
        geometry.ijk_to_ras,
    )
    with pytest.raises(AssertionError):
        assert_true(changed)
    mirrored = geometry.ijk_to_ras @ np.diag([-1, 1, 1, 1])
    with pytest.raises(AssertionError):
        assert_true(centres(array.T, mirrored))
