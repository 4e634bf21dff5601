"""Headers with voxels in other files: only ordinary files beside them are read, and all of these count."""

from __future__ import annotations

import os

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.images.refusals import GRID, noise, refused
from fixtures.models.bundles import tiny_bundle
from mednext.batch.case import Case
from mednext.batch.finished_case import fingerprint
from mednext.cli import main
from mednext.errors import UnreadableImageError
from mednext.images.volume import read_volume

DATA = {"mhd": "ElementDataFile = ", "nhdr": "data file: "}
FORMATS = list(DATA)


@pytest.fixture(params=FORMATS)
def header(request, tmp_path):
    """The header of an image whose voxels lie in `image.raw`."""
    path = tmp_path / f"image.{request.param}"
    image = sitk.GetImageFromArray(noise())
    image.SetSpacing(GRID.spacing)
    sitk.WriteImage(image, str(path))
    return path


def voxels_in(header, name):
    """The header with another name of its data file."""
    text = header.read_text()
    key = DATA[header.suffix[1:]]
    header.write_text(text.replace(f"{key}image.raw", f"{key}{name}"))
    assert name in header.read_text()
    return header


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_header_beside_its_voxels_is_read(tmp_path, suffix, compressed):
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(tmp_path / f"image.{suffix}"), compressed)
    np.testing.assert_array_equal(read_volume(tmp_path / f"image.{suffix}").array[0], noise())


def test_the_name_of_a_data_file_may_begin_with_the_folder_of_the_header(header):
    np.testing.assert_array_equal(read_volume(voxels_in(header, "./image.raw")).array[0], noise())


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../image.raw",
        "sub/image.raw",
        "sub\\image.raw",
        "C:image.raw",
        "-",
        ".",
        "..",
        "/dev/zero",
    ],
)
def test_a_path_that_leads_elsewhere_is_not_followed(header, name):
    refused(voxels_in(header, name), UnreadableImageError, "only a file beside it")


def test_a_file_that_is_missing_is_named(header):
    header.with_suffix(".raw").unlink()
    refused(header, UnreadableImageError, "image.raw", "not beside it", "copy that file too")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_and_a_folder_are_refused_as_data_files(header):
    os.mkfifo(header.parent / "pipe")
    (header.parent / "folder").mkdir()
    refused(voxels_in(header, "pipe"), UnreadableImageError, "no ordinary file")
    header.write_text(header.read_text().replace("pipe", "folder"))
    refused(header, UnreadableImageError, "no ordinary file")


def test_a_link_to_another_folder_is_not_followed(header, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "image.raw"
    header.with_suffix(".raw").rename(other)
    try:
        header.with_suffix(".raw").symlink_to(other)
    except OSError:
        pytest.skip("this system makes no links")
    refused(header, UnreadableImageError, "a link to another folder")


@pytest.mark.parametrize(
    "name", ["%s%s%s%n", "%s 1 10 1", "%99999999d 1 2 1", "a%d 1 999999999 1", "a%d 1 2 0", "x" * 5000]
)
def test_impossible_patterns_and_names_are_refused(header, name):
    refused(voxels_in(header, name), UnreadableImageError, "voxels" if "%" not in name else "")


def test_data_files_that_are_too_short_or_too_long_are_refused(header):
    raw = header.with_suffix(".raw")
    content = raw.read_bytes()
    raw.write_bytes(content[:-4])
    refused(header, UnreadableImageError, "image.raw is truncated", "last 4 bytes")
    raw.write_bytes(content * 2)
    refused(header, UnreadableImageError, "image.raw holds", "more than the header")


def slices_of(header):
    for number, plane in enumerate(noise(), start=1):
        (header.parent / f"slice{number:03}.raw").write_bytes(plane.astype("<f4").tobytes())
    return [f"slice{number:03}.raw" for number in range(1, len(noise()) + 1)]


def test_a_pattern_of_numbered_slices_is_read(header):
    names = slices_of(header)
    np.testing.assert_array_equal(read_volume(voxels_in(header, "slice%03d.raw 1 10 1")).array[0], noise())
    (header.parent / names[4]).unlink()
    refused(header, UnreadableImageError, names[4], "not beside it")


def test_a_list_of_slices_is_read(header):
    names = "\n".join(["LIST", *slices_of(header)])
    np.testing.assert_array_equal(read_volume(voxels_in(header, names)).array[0], noise())


def test_a_list_that_is_empty_or_leads_elsewhere_is_refused(header):
    refused(voxels_in(header, "LIST"), UnreadableImageError, "names 0 files")
    header.write_text(header.read_text().rstrip() + "\n/etc/passwd\n")
    refused(header, UnreadableImageError, "only a file beside it")


@pytest.mark.parametrize("header", FORMATS[:1], indirect=True)
def test_a_batch_segments_a_case_again_if_the_voxels_beside_its_header_have_changed(
    header, tmp_path_factory, capsys
):
    place = tmp_path_factory.mktemp("batch")
    tiny_bundle(place / "tiny")
    arguments = [header.parent, place / "results", "--model", place / "tiny", "--device", "cpu"]
    command = ["segment-folder", *map(str, arguments)]
    result = place / "results" / "image.seg.nrrd"
    assert main(command) == 0
    first = result.stat().st_mtime_ns
    assert main(command) == 0
    assert result.stat().st_mtime_ns == first
    raw = header.with_suffix(".raw")
    raw.write_bytes(noise()[::-1].tobytes())
    os.utime(raw, (1, 1))  # copied with its time
    assert main(command) == 0
    assert result.stat().st_mtime_ns > first


def test_the_fingerprint_of_a_case_includes_the_voxels_beside_its_header(header):
    case = Case("a", (str(header),), (header,), "image")
    before = fingerprint(case)
    raw = header.with_suffix(".raw")
    raw.write_bytes(raw.read_bytes()[::-1])
    assert fingerprint(case) != before
