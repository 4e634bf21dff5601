"""Files of another kind than their names say are refused with the kind and the remedy."""

from __future__ import annotations

import gzip
import os
import shutil
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from fixtures.images.refusals import noise, refused, written
from mednext.errors import UnreadableImageError, UnsupportedImageError
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume

NAMES = ["image.nii", "image.nii.gz", "image.nrrd", "image.mha", "image"]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
PAGE = b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>"
KINDS = {
    "a pointer of Git LFS": (LFS, "git lfs pull"),
    "a web page": (PAGE, "download the image again"),
    "a web page,": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "download"),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "unpack it"),
    "packed with bzip2": (b"BZh91AY&SY" + bytes(100), "unpack it"),
    "a PDF": (b"%PDF-1.7\n" + bytes(100), "give an image"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no place in a patient"),
    "a HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "convert it"),
    "a VTK file": (b"# vtk DataFile Version 3.0\n", "where left is"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_refused_with_its_kind(tmp_path, kind, name):
    content, remedy = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, UnreadableImageError, f"is {kind}", remedy)


@pytest.mark.parametrize("name", NAMES)
def test_a_zip_archive_is_refused_with_its_kind(tmp_path, name):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("image.nii", b"voxels")
    refused(tmp_path / name, UnreadableImageError, "is a zip archive", "unpack it")


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image", "image.txt"])
def test_a_text_file_is_refused_with_its_kind(tmp_path, name):
    (tmp_path / name).write_text("Patients and their scans, in no order.\n" * 30)
    refused(tmp_path / name, UnreadableImageError, "is a text file")


@pytest.mark.parametrize("name", ["image.nii", "image.nrrd", "image.mha"])
def test_a_slice_of_dicom_is_recognised_by_any_name(tmp_path, name):
    write_series(tmp_path / "series", noise((2, 11, 12)).round(), Geometry((12, 11, 2), (1, 1, 1)))
    shutil.copy(next((tmp_path / "series").iterdir()), tmp_path / name)
    refused(tmp_path / name, UnreadableImageError, "is a DICOM file", "give the folder of its series")


@pytest.mark.parametrize(("suffix", "kind"), [("nrrd", "NRRD"), ("mha", "MetaImage")])
def test_an_image_with_the_name_of_another_format_is_refused_with_its_format(tmp_path, suffix, kind):
    path = written(tmp_path / f"image.{suffix}")
    refused(
        path.rename(tmp_path / "image.nii"), UnreadableImageError, f"is a {kind} file: name it *.{suffix}"
    )


@pytest.mark.parametrize("suffix", ["mgz", "mgh"])
def test_an_image_of_freesurfer_is_refused_with_the_command_that_converts_it(tmp_path, suffix):
    path = tmp_path / f"brain.{suffix}"
    path.write_bytes(gzip.compress(bytes(500)))
    refused(path, UnsupportedImageError, "mri_convert")


@pytest.mark.parametrize(("stored", "called"), [("image.nii.gz", "image.nii"), ("image.nii", "image.nii.gz")])
def test_a_nifti_file_is_read_whether_it_is_packed_or_not_whatever_its_name_says(tmp_path, stored, called):
    path = written(tmp_path / stored).rename(tmp_path / called)
    np.testing.assert_array_equal(read_volume(path).array[0], noise())


def test_a_nifti_file_that_was_packed_twice_is_refused(tmp_path):
    path = written(tmp_path / "image.nii.gz")
    path.write_bytes(gzip.compress(path.read_bytes()))
    refused(path, UnreadableImageError, "packed with gzip twice", "unpack it once")


@pytest.mark.parametrize("suffix", ["mhd", "nhdr"])
def test_a_pointer_of_git_lfs_in_place_of_the_voxels_beside_a_header_is_named(tmp_path, suffix):
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(tmp_path / f"image.{suffix}"))
    (tmp_path / "image.raw").write_bytes(LFS)
    with pytest.raises(UnreadableImageError, match=r"image\.raw is a pointer of Git LFS, not the image"):
        read_volume(tmp_path / f"image.{suffix}")


def test_a_file_of_an_unknown_kind_is_refused_with_the_formats_that_are_read(tmp_path):
    path = tmp_path / "image.gipl"
    path.write_bytes(bytes(range(256)) * 4)
    refused(path, UnreadableImageError, "is no image that is read", ".nii.gz", ".mha")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, UnreadableImageError, "no ordinary file")
