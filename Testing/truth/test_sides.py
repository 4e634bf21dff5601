"""Left and right, front and back, top and bottom are the same for each reader, however the image is stored.

A phantom with structures on known places of the patient is stored along each of the 48 orientations, in each
image format; our readers read it, thresholds stand for the network, our writers write the result in each
format, and programs of others read that: nibabel, SimpleITK, highdicom, dcmqi, and Slicer's own MRML.
The suite takes some orientations; MEDNEXT_ALL_ORIENTATIONS=1 takes all (`make truth`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_series
from geometries import ORIENTATIONS
from mednext.images.geometry import Geometry, reorient_array
from mednext.images.volume import read_volume
from mednext.model.labels import Code, Label, Terminology
from mednext.segmentation.export import write_segmentation
from mednext.segmentation.result import Segmentation

KIDNEY = Code("64033007", "SCT", "Kidney")
ORGAN = Code("123037004", "SCT", "Anatomical Structure")
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
LABELS = (
    Label(1, "left kidney", (10, 200, 30), Terminology(ORGAN, KIDNEY, SIDES["left"])),
    Label(2, "right kidney", (200, 30, 10), Terminology(ORGAN, KIDNEY, SIDES["right"])),
    Label(5, "front", (1, 2, 3)),
)
# Centres in mm, RAS, within the patient, and the values that stand for them in the image.
PLACES = {1: (-12.0, -8.0, 20.0), 2: (13.5, -8.0, 12.0), 5: (0.0, 14.0, 16.0)}
VALUES = {1: 300, 2: 600, 5: 900}
GRID = Geometry((24, 22, 10), (1.5, 2.0, 4.0), (18.0, 22.0, 0.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS axes
EXACT_MM = 0.01

EVERY = os.environ.get("MEDNEXT_ALL_ORIENTATIONS") == "1"
FILE_ORIENTATIONS = ORIENTATIONS if EVERY else ORIENTATIONS[::5]
# A series of slices has no left-handed grids: its third axis follows from the slices' positions.
DICOM_ORIENTATIONS = ORIENTATIONS[::2] if EVERY else ORIENTATIONS[::12]
SEGIMAGE = shutil.which("segimage2itkimage", path=Path(sys.executable).parent) or shutil.which(
    "segimage2itkimage"
)

Found = dict[int, tuple[float, float, float]]


def phantom(orientation: str) -> tuple[np.ndarray, Geometry]:
    """The patient's image `(Z, Y, X)`, int16, and its grid, stored along these axes."""
    array = np.full(GRID.shape, -50, np.int16)
    for value, place in PLACES.items():
        i, j, k = np.rint(np.linalg.inv(GRID.ijk_to_ras) @ [*place, 1])[:3].astype(int)
        array[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = VALUES[value]
    return reorient_array(array, GRID, orientation)


TRUTH: Found = {
    value: tuple((GRID.ijk_to_ras @ [*np.rint(np.linalg.inv(GRID.ijk_to_ras) @ [*place, 1])[:3], 1])[:3])
    for value, place in PLACES.items()
}


def segmented(path: Path) -> Segmentation:
    """The image of a file as our reader sees it; thresholds stand for the network."""
    volume = read_volume(path, insist=True)
    labelmap = np.zeros(volume.geometry.shape, np.uint8)
    for value, level in VALUES.items():
        labelmap[volume.array[0] == level] = value
    return Segmentation(labelmap, volume.geometry, LABELS, {"model": "phantom", "model_version": "1"})


def centres(array: np.ndarray, ijk_to_ras: np.ndarray) -> Found:
    """The centre of each label of `array`, indexed `[i, j, k]`, in mm RAS."""
    return {
        int(value): tuple((ijk_to_ras @ [*np.argwhere(array == value).mean(axis=0), 1])[:3])
        for value in np.unique(array)
        if value
    }


def by_nibabel(path: Path) -> Found:
    image = nibabel.load(path)
    return centres(np.asarray(image.dataobj), image.affine)


def by_nibabels_qform(path: Path) -> Found:
    image = nibabel.load(path)
    return centres(np.asarray(image.dataobj), image.get_qform())


def by_sitk(path: Path) -> Found:
    image = sitk.ReadImage(str(path))
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix = np.vstack([np.column_stack([direction, image.GetOrigin()]), [0, 0, 0, 1]])
    return centres(sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ matrix)


def by_slicer(path: Path) -> Found:
    import slicer
    import slicer_standin

    slicer_standin.start().scene.Clear(0)
    node = slicer.util.loadSegmentation(str(path))
    segmentation = node.GetSegmentation()
    found: Found = {}
    for label in LABELS:
        identity = segmentation.GetSegmentIdBySegmentName(label.name)
        assert identity, label.name
        found[label.value] = tuple(node.GetSegmentCenterRAS(identity))
    return found


def by_highdicom(path: Path) -> Found:
    import highdicom

    stored = highdicom.seg.segread(path)
    volume = stored.get_volume(combine_segments=False)
    found: Found = {}
    for number in stored.segment_numbers:
        description = stored.get_segment_description(number)
        (value,) = [label.value for label in LABELS if label.name == description.segment_label]
        check_side(description.segment_label, description)
        centre = volume.affine @ [*np.argwhere(volume.array[..., number - 1]).mean(axis=0), 1]
        found[value] = (-centre[0], -centre[1], centre[2])
    return found


def check_side(name: str, description: object) -> None:
    """The code of the side says what the name says."""
    kind = description.SegmentedPropertyTypeCodeSequence[0]
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence")
    side = name.split(maxsplit=1)[0]
    assert (modifiers[0].CodeValue if modifiers else None) == (SIDES[side].value if side in SIDES else None)


def by_dcmqi(path: Path) -> Found:
    if SEGIMAGE is None:
        pytest.skip("dcmqi is not installed")
    folder = path.parent / "dcmqi"
    folder.mkdir()
    command = [SEGIMAGE, "--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    meta = json.loads((folder / "meta.json").read_text())
    found: Found = {}
    for number, (attributes,) in enumerate(meta["segmentAttributes"], 1):
        (value,) = [label.value for label in LABELS if label.name == attributes["SegmentLabel"]]
        (centre,) = by_sitk(folder / f"{number}.nrrd").values()
        found[value] = centre
    return found


def assert_true(found: Found) -> None:
    assert set(found) == set(TRUTH)
    for value, centre in TRUTH.items():
        assert found[value] == pytest.approx(centre, abs=EXACT_MM), value


def write_by_nibabel(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    image = nibabel.Nifti1Image(array.T, geometry.ijk_to_ras)
    image.set_qform(geometry.ijk_to_ras, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_by_sitk(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path))


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
@pytest.mark.parametrize("orientation", FILE_ORIENTATIONS)
def test_each_reader_sees_each_structure_of_a_file_in_its_place(orientation, stored, tmp_path):
    WRITERS[stored](tmp_path / stored, *phantom(orientation))
    result = segmented(tmp_path / stored)
    for name, readers in READERS.items():
        write_segmentation(tmp_path / name, result)
        for reader in readers:
            assert_true(reader(tmp_path / name))


@pytest.mark.parametrize("orientation", DICOM_ORIENTATIONS)
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
def test_each_reader_sees_each_structure_of_a_series_in_its_place(orientation, descending, tmp_path):
    series = tmp_path / "series"
    write_series(series, *phantom(orientation), descending=descending)
    result = segmented(series)
    write_segmentation(tmp_path / "result.dcm", result, source=series)
    assert_true(by_highdicom(tmp_path / "result.dcm"))
    assert_true(by_dcmqi(tmp_path / "result.dcm"))
    write_segmentation(tmp_path / "result.seg.nrrd", result)
    assert_true(by_slicer(tmp_path / "result.seg.nrrd"))
    write_segmentation(tmp_path / "result.nii.gz", result)
    assert_true(by_nibabel(tmp_path / "result.nii.gz"))


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
