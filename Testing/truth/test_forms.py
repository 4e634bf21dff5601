"""Sides and places stay in each form of a grid, and the same input gives the same bytes."""

from __future__ import annotations

import gzip
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from fixtures.images.sides_phantom import (
    EXACT_MM,
    LABELS,
    OBLIQUE,
    STRAIGHT,
    TRUTH,
    assert_true,
    by_highdicom,
    by_nibabel,
    by_sitk,
    by_slicer,
    phantom,
    segmented,
    write_by_nibabel,
    write_by_sitk,
)
from mednext.images.geometry import Geometry
from mednext.segmentation.export import write_segmentation
from mednext.system.child_processes import child_environment
from mednext.viewing.shown_result import read_result

EVERY = os.environ.get("MEDNEXT_ALL_ORIENTATIONS") == "1"
GRIDS = list(itertools.product(("RAS", "LPI", "ASR", "ILA"), ("straight", "oblique")))
GRIDS = GRIDS if EVERY else GRIDS[::7]
POSITIONS = ("HFS", "FFS", "HFP", "FFP", "HFDR", "FFDL") if EVERY else ("FFS", "HFDR")


def nifti(qform: int, sform: int, big: bool = False) -> Callable[[Path, np.ndarray, Geometry], None]:
    """A writer of NIfTI with these codes, in this byte order."""

    def write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
        header = nibabel.Nifti1Header(endianness=">" if big else "<")
        header.set_data_dtype(np.int16)
        header.set_data_shape(array.T.shape)
        header.set_qform(geometry.ijk_to_ras, qform)
        header.set_sform(geometry.ijk_to_ras if sform else np.eye(4), sform)
        header.set_xyzt_units("mm")
        header["magic"], header["vox_offset"] = b"n+1", 352
        stored = array.astype(">i2" if big else "<i2").tobytes()
        content = header.binaryblock + bytes(4) + stored
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


def of_one_volume(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """NIfTI with a fourth axis of one."""
    image = nibabel.Nifti1Image(array.T[..., None], geometry.ijk_to_ras)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def nrrd(space: str, first: int, second: int) -> Callable[[Path, np.ndarray, Geometry], None]:
    """A writer of NRRD in this space, whose axes are those of RAS times these signs."""

    def write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
        matrix = np.diag([first, second, 1, 1]) @ geometry.ijk_to_ras
        vectors = " ".join(f"({','.join(map(repr, matrix[:3, axis].tolist()))})" for axis in range(3))
        origin = ",".join(map(repr, matrix[:3, 3].tolist()))
        size = " ".join(map(str, geometry.size))
        header = f"NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: {size}\n"
        header += f"space directions: {vectors}\nkinds: domain domain domain\nendian: big\nencoding: raw\n"
        path.write_bytes(f"{header}space origin: ({origin})\n\n".encode() + array.astype(">i2").tobytes())

    return write


def metaimage(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """A detached MetaImage with the letters of its axes, packed."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path), True)


FORMS: dict[str, tuple[str, Callable[[Path, np.ndarray, Geometry], None]]] = {
    "NIfTI with a qform only": ("a.nii", nifti(1, 0)),
    "NIfTI with a qform only, packed": ("a.nii.gz", nifti(1, 0)),
    "NIfTI with an sform only": ("a.nii.gz", nifti(0, 1)),
    "NIfTI with both, big endian": ("a.nii", nifti(1, 2, big=True)),
    "NIfTI of one volume": ("a.nii.gz", of_one_volume),
    "NRRD in RAS": ("a.nrrd", nrrd("right-anterior-superior", 1, 1)),
    "NRRD in LAS": ("a.nrrd", nrrd("left-anterior-superior", -1, 1)),
    "NRRD in LPS": ("a.nrrd", nrrd("LPS", -1, -1)),
    "NRRD by SimpleITK": ("a.nhdr", write_by_sitk),
    "MetaImage with letters": ("a.mhd", metaimage),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("orientation", "turned"), GRIDS)
def test_each_form_of_a_grid_gives_the_same_places(form, orientation, turned, tmp_path):
    name, write = FORMS[form]
    turn = OBLIQUE if turned == "oblique" else STRAIGHT
    write(tmp_path / name, *phantom(orientation, turn))
    result = segmented(tmp_path / name)
    write_segmentation(tmp_path / "result.nii.gz", result)
    assert_true(by_nibabel(tmp_path / "result.nii.gz"), turn)
    write_segmentation(tmp_path / "result.seg.nrrd", result)
    assert_true(by_sitk(tmp_path / "result.seg.nrrd"), turn)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("suffix", [".dcm", ".labelmap.dcm"])
def test_the_position_on_the_table_changes_no_side(position, descending, suffix, tmp_path):
    series = tmp_path / "series"
    orientation = {"H": "LPS", "F": "RPI"}[position[0]]  # feet first the slices ascend towards the feet
    write_series(series, *phantom(orientation), descending=descending)
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientPosition = position
        dataset.save_as(path)
    write_segmentation(tmp_path / f"result{suffix}", segmented(series), source=series)
    assert_true(by_highdicom(tmp_path / f"result{suffix}"))


def test_a_file_of_slicer_that_is_segmented_anew_by_its_values_has_the_same_places(tmp_path):
    write_by_nibabel(tmp_path / "a.nii.gz", *phantom("LAS"))
    write_segmentation(tmp_path / "result.seg.nrrd", segmented(tmp_path / "a.nii.gz"))
    assert_true(by_slicer(tmp_path / "result.seg.nrrd"))
    shown = read_result(tmp_path / "result.seg.nrrd")
    for segment, label in zip(shown.segments, LABELS, strict=True):
        assert (segment.value, segment.name, segment.color) == (label.value, label.name, label.color)
        assert segment.centre_ras == pytest.approx(TRUTH[label.value], abs=EXACT_MM)


def test_two_processes_write_the_same_bytes_in_every_format(tmp_path):
    series = tmp_path / "series"
    write_series(series, *phantom("LPS"))
    program = (
        "import sys; from pathlib import Path; from fixtures.images.sides_phantom import segmented; "
        "from mednext.segmentation.export import write_segmentation; series, out = map(Path, sys.argv[1:]); "
        "result = segmented(series); [write_segmentation(out / f'a{suffix}', result, source=series) "
        "for suffix in ('.nii.gz', '.nii', '.nrrd', '.mha', '.seg.nrrd')]"
    )
    written = []
    for name, threads in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        paths = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run(
            [sys.executable, "-c", program, str(series), str(tmp_path / name)],
            env=child_environment() | paths,
            check=True,
        )
        written.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert len(written[0]) == 5
    assert [name for name, content in written[0].items() if written[1][name] != content] == []
