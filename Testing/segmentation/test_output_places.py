"""`mednext segment` never overwrites an image, and replaces both former results or none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.batch.cases import add_image
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from mednext import errors
from mednext.cli import main
from mednext.images.geometry import Geometry
from mednext.segmentation import export
from mednext.segmentation.output_places import check_apart


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def segment(tiny, tmp_path, monkeypatch):
    """Segment `scan.nii.gz` with the small model; returns the exit code."""
    add_image(tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)

    def run(*arguments, image="scan.nii.gz"):
        options = ["--model", tiny.path, "--device", "cpu", "--threads", 1, "--overwrite"]
        return main(["segment", image, *map(str, [*options, *arguments])])

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


WAYS_TO_THE_IMAGE = {
    "itself": lambda image: image,
    "another path": lambda image: image.parent / "folder" / ".." / image.name,
    "a link": lambda image: linked(image.parent / "link.nii.gz", os.symlink),
    "a hard link": lambda image: linked(image.parent / "hard.nii.gz", os.link),
    "a linked folder": lambda image: linked(image.parent / "there", os.symlink, ".") / image.name,
}


def linked(path: Path, link, target: str = "scan.nii.gz") -> Path:
    link(target, path)
    return path


@pytest.mark.parametrize("way", WAYS_TO_THE_IMAGE)
@pytest.mark.parametrize("option", ["--output", "--uncertainty"])
def test_an_image_is_never_replaced(segment, tmp_path, way, option, capsys):
    (tmp_path / "folder").mkdir()
    place = WAYS_TO_THE_IMAGE[way](tmp_path / "scan.nii.gz")
    before = contents(tmp_path)
    other = [] if option == "--output" else ["--output", "out.seg.nrrd"]
    assert segment(option, place, *other) == 2
    assert "would be lost" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_separate_file_of_voxels_is_part_of_the_image(tmp_path):
    header = [
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nendian: little",
        "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)",
        "data file: voxels.nrrd\n",
    ]
    (tmp_path / "scan.nhdr").write_text("\n".join(header))
    (tmp_path / "voxels.nrrd").write_bytes(bytes(16))
    with pytest.raises(errors.OptionError, match="would be lost"):
        check_apart([tmp_path / "voxels.nrrd"], [tmp_path / "scan.nhdr"])
    check_apart([tmp_path / "other.nrrd"], [tmp_path / "scan.nhdr"])


def test_a_slice_of_the_series_is_never_replaced(tmp_path):
    folder = tmp_path / "series"
    uid = write_series(folder, np.zeros((3, 4, 5), np.int16), Geometry((5, 4, 3), (1.0, 1.0, 2.0)))
    slices = sorted(folder.iterdir())
    link = tmp_path / "link.dcm"
    link.symlink_to(slices[0])
    for place in (slices[1], link):
        for image in (folder, f"{folder}#{uid}"):
            with pytest.raises(errors.OptionError, match="would be lost"):
                check_apart([place], [image])
    yesterdays = folder / "segmentation.dcm"
    yesterdays.write_bytes(bytes(128) + b"DICM" + b"1.2.840.10008.5.1.4.1.1.66.4")
    check_apart([yesterdays, folder / "new.dcm"], [folder])


@pytest.mark.parametrize("second", ["a.nrrd", "./a.nrrd", "A.NRRD", "link.nrrd"])
def test_two_results_do_not_share_a_file(segment, tmp_path, second, capsys):
    (tmp_path / "link.nrrd").symlink_to("a.nrrd")
    assert segment("--output", "a.nrrd", "--uncertainty", second) == 2
    assert "cannot hold both" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_failing_second_write_keeps_the_older_files(segment, tmp_path, monkeypatch, capsys):
    assert segment("-o", "labels.nii.gz", "--uncertainty", "doubt.nii.gz") == 0
    before = contents(tmp_path)

    def fail(path, *_):
        raise errors.DiskSpaceError(f"The disk is full: {path} was not written.")

    for writer in ("write_image", "write_seg_nrrd"):
        monkeypatch.setattr(export, writer, fail)
    for output in ("labels.nii.gz", "labels.seg.nrrd"):
        assert segment("-o", output, "--uncertainty", "doubt.nii.gz") == 2
    assert contents(tmp_path) == before


def test_both_results_replace_older_ones(segment, tmp_path):
    for name in ("labels.seg.nrrd", "doubt.nrrd"):
        (tmp_path / name).write_text("yesterday's")
    assert segment("-o", "labels.seg.nrrd", "--uncertainty", "doubt.nrrd") == 0
    assert sitk.ReadImage("doubt.nrrd").GetSize() == sitk.ReadImage("labels.seg.nrrd").GetSize()
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii.gz", "labels.seg.nrrd", "doubt.nrrd"}
