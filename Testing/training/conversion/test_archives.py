"""Archives are taken as they were downloaded, or refused whole."""

from __future__ import annotations

import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.training import challenge_trees as trees
from fixtures.training.converted_data import CASES, FOLDERS, cases_in, raw


@pytest.mark.parametrize("kind", ["zip", "tar", "zip in a folder"])
def test_archives_are_taken_as_they_were_downloaded(
    tmp_path: Path, convert: Callable[..., int], kind: str
) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 2)
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    (tmp_path / "downloads").mkdir()
    archive = tmp_path / "downloads" / ("data.tar" if kind == "tar" else "data.zip")
    if kind == "tar":
        with tarfile.open(archive, "w") as target:
            target.add(tree / "Task04_Hippocampus", "Task04_Hippocampus")
    else:
        with zipfile.ZipFile(archive, "w") as target:
            for file in files:
                target.write(file, file.relative_to(tree))
    assert convert("hippocampus", archive.parent if kind.endswith("folder") else archive) == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]
    assert [path.name for path in (tmp_path / "runs" / "raw").iterdir()] == [FOLDERS["hippocampus"]]


def test_an_archive_beside_its_own_content_is_not_taken_twice_and_it_is_told(
    tmp_path: Path, convert: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 2)
    with tarfile.open(tree / "Task04_Hippocampus.tar", "w") as target:
        target.add(tree / "Task04_Hippocampus", "Task04_Hippocampus")
    assert convert("hippocampus", tree) == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]
    assert "Task04_Hippocampus.tar is not unpacked" in caplog.text


@pytest.mark.parametrize("name", ["../outside.nii.gz", "/outside.nii.gz", "a/../../outside.nii.gz"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_leaves_its_folder_is_refused(
    tmp_path: Path, convert: Callable[..., int], kind: str, name: str
) -> None:
    archive = tmp_path / f"data.{kind}"
    (tmp_path / "file").write_bytes(b"1")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(name, b"1")
    else:
        with tarfile.open(archive, "w") as tar:
            member = tar.gettarinfo(tmp_path / "file")
            member.name = name
            with (tmp_path / "file").open("rb") as data:
                tar.addfile(member, data)
    before = set(tmp_path.rglob("outside*"))
    assert convert("hippocampus", archive) == 2
    assert set(tmp_path.rglob("outside*")) == before == set()


@pytest.mark.parametrize("cut", [0.5, 0.98])
def test_a_truncated_archive_is_an_explained_error(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture, cut: float
) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 1)
    archive = tmp_path / "data.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(tree / "Task04_Hippocampus", "Task04_Hippocampus")
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    assert convert("hippocampus", archive) == 2
    assert "download it again" in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "raw").iterdir())


def _members(archive: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(archive, "w") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name in names:
            packed.writestr(name, b"1")
    return archive


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.nii.gz", "a.nii.gz"], "'a.nii.gz' is there twice"),
        (["a", "a/b.nii.gz"], "'a/b.nii.gz' cannot be a file here"),
        (["x" * 300 + ".nii.gz"], "cannot be a file here"),
    ],
)
def test_an_archive_whose_names_collide_is_an_explained_error(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture, names: list[str], told: str
) -> None:
    assert convert("hippocampus", _members(tmp_path / "data.zip", names)) == 2
    assert told in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "raw").iterdir())


def test_an_archive_that_windows_packed_is_taken(tmp_path: Path, convert: Callable[..., int]) -> None:
    tree = trees.write_hippocampus(tmp_path / "tree", 2)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        for path in sorted(tree.rglob("*")):
            member = zipfile.ZipInfo()
            member.filename = str(path.relative_to(tree)).replace("/", "\\") + ("\\" if path.is_dir() else "")
            packed.writestr(member, b"" if path.is_dir() else path.read_bytes())
    assert convert("hippocampus", tmp_path / "data.zip") == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == CASES["hippocampus"]


def test_a_fault_in_an_archive_is_told_by_its_place_there_without_control_characters(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    """The folder that it was unpacked into is gone when somebody reads the report."""
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for folder in ("imagesTr", "labelsTr"):
            packed.writestr(f"=red\x1b[31m/{folder}/hippocampus_001.nii.gz", "no image")
    assert convert("hippocampus", archive) == 2
    place = f"{archive}/=red\\x1b[31m/imagesTr/hippocampus_001.nii.gz"
    shown = capsys.readouterr()
    assert f"hippocampus_001: {place} is a text file" in shown.out
    assert "\x1b" not in shown.out + shown.err
    report = (tmp_path / "runs" / "reports" / f"{FOLDERS['hippocampus']}.csv").read_text()
    assert place in report
    assert "\x1b" not in report
