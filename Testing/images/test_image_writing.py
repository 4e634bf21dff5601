"""Failures to write an image name the place, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures.images.refusals import GRID, noise
from mednext.errors import DiskSpaceError, GeometryError, OutputError
from mednext.images.formats.image_files import to_image, write_verified
from mednext.images.volume import write_image


@pytest.mark.parametrize("name", ["labels.xyz", "labels", "labels.mhd", "labels.nhdr", "labels.hdr"])
def test_an_unknown_format_is_not_written(tmp_path, name):
    with pytest.raises(OutputError, match=r"use one of \.nii\.gz, \.nii, \.nrrd, \.mha"):
        write_image(tmp_path / name, noise(), GRID)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "labels.nii.gz").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_image(tmp_path / "labels.nii.gz", noise(), GRID)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"results does not exist: make it first"):
        write_image(tmp_path / "results" / "labels.nii.gz", noise(), GRID)


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(OutputError, match=r"results is a file: choose another place"):
        write_image(tmp_path / "results" / "labels.nii.gz", noise(), GRID)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may write everywhere, and Windows has no modes",
)
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_image(tmp_path / "labels.nii.gz", noise(), GRID)
    tmp_path.chmod(0o700)


def test_an_array_off_the_grid_is_not_written(tmp_path):
    with pytest.raises(GeometryError, match="is not on a grid"):
        write_image(tmp_path / "labels.nii.gz", noise((3, 4, 5)), GRID)
    assert not list(tmp_path.iterdir())


SHORT = """
import resource, sys
from pathlib import Path
import numpy as np
from mednext.errors import MedNeXtError
from mednext.images.geometry import Geometry
from mednext.images.volume import write_image
array = np.random.default_rng(0).integers(0, 3, (16, 20, 24)).astype(np.uint8)
write_image(sys.argv[1], array, Geometry((24, 20, 16), (1, 1, 1)))
size = Path(sys.argv[1]).stat().st_size
for missing in (1, 4, 8):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - missing, size - missing))
    try:
        write_image(sys.argv[2], array, Geometry((24, 20, 16), (1, 1, 1)))
    except MedNeXtError as error:
        print("space" in str(error), [file.name for file in Path(sys.argv[2]).parent.iterdir()])
"""
LIMITED = """
import resource, sys
import numpy as np
from mednext.errors import MedNeXtError
from mednext.images.geometry import Geometry
from mednext.images.volume import write_image
array = np.random.default_rng(0).normal(size=(40, 40, 40))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_image(sys.argv[1], array, Geometry((40, 40, 40), (1, 1, 1)))
except MedNeXtError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_distinguished_from_other_failures(tmp_path, monkeypatch):
    image = to_image(noise(), GRID)
    (tmp_path / "full.nrrd").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="check the disk's free space"):
        write_verified(image, tmp_path / "full.nrrd", tmp_path / "labels.nrrd")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=4096))
    with pytest.raises(DiskSpaceError, match=r"The disk is full: .*labels\.nrrd was not written"):
        write_verified(image, tmp_path / "full.nrrd", tmp_path / "labels.nrrd")


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_not_even_the_last_byte_may_be_missing(tmp_path, suffix):
    pytest.importorskip("resource", reason="Windows has no limits on the size of a file")
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"labels.{suffix}"
    run = subprocess.run(
        [sys.executable, "-c", SHORT, whole, path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.splitlines() == [f"True ['{whole.name}']"] * 3


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha"])
def test_when_there_is_no_room_the_old_file_stays_and_nothing_else(tmp_path, suffix):
    pytest.importorskip("resource", reason="Windows has no limits on the size of a file")
    path = tmp_path / f"labels.{suffix}"
    path.write_text("yesterday's result")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.startswith((OutputError.__name__, DiskSpaceError.__name__))
    assert str(path) in run.stdout
    assert "space" in run.stdout
    assert path.read_text() == "yesterday's result"
    assert list(tmp_path.iterdir()) == [path]
