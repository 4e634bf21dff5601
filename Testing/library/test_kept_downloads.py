"""Unfinished downloads are counted, removed on request or after a month, and left alone while in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from mednext.cli import main
from mednext.library.kept_downloads import (
    downloads_folder,
    forget_old_downloads,
    kept_downloads,
    remove_downloads,
)
from mednext.system.locks import locked

DAY_S = 24 * 3600.0


def leave(name: str, size: int, days: float = 0.0) -> Path:
    """A download of `size` bytes that was interrupted some days ago."""
    place = downloads_folder() / name
    place.parent.mkdir(parents=True, exist_ok=True)
    file = place
    if not place.suffix:
        file = place / "fold_0" / "model_best.model.part"
        file.parent.mkdir(parents=True)
    file.write_bytes(bytes(size))
    then = time.time() - days * DAY_S
    for each in (file, file.parent, place):
        if each != downloads_folder():
            os.utime(each, (then, then))
    return place


def test_folders_of_members_and_parts_of_zips_are_counted_with_their_sizes(models: Path) -> None:
    assert kept_downloads() == []
    leave("aaaa", 100)
    leave("bbbb.zip.part", 30)
    leave("bbbb.zip.part.json", 5)
    leave("cccc.zip.lock", 0)
    members, zipped = kept_downloads()
    assert (members.name, zipped.name, zipped.bytes) == ("aaaa", "bbbb", 35)
    assert members.bytes >= 100


def test_all_are_removed_on_request(models: Path) -> None:
    leave("aaaa", 100)
    leave("bbbb.zip.part", 30)
    (models / "a-model").mkdir()
    assert [kept.name for kept in remove_downloads()] == ["aaaa", "bbbb"]
    assert not any(downloads_folder().iterdir())
    assert (models / "a-model").is_dir()


@pytest.mark.parametrize(("name", "lock"), [("aaaa", "aaaa.lock"), ("bbbb.zip.part", "bbbb.zip.lock")])
def test_a_download_that_a_process_is_working_on_stays(models: Path, name: str, lock: str) -> None:
    place = leave(name, 100)
    with locked(downloads_folder() / lock):
        assert remove_downloads() == []
        assert place.exists()
    assert len(remove_downloads()) == 1
    assert not place.exists()


def test_those_that_nobody_resumed_for_a_month_are_forgotten(models: Path) -> None:
    old, recent = leave("aaaa", 100, days=31), leave("bbbb", 100, days=29)
    forget_old_downloads()
    assert (old.exists(), recent.exists()) == (False, True)


def test_a_link_is_removed_and_not_followed(models: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_bytes(b"1")
    downloads_folder().mkdir(parents=True)
    (downloads_folder() / "aaaa").symlink_to(tmp_path / "elsewhere")
    assert len(remove_downloads()) == 1
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_the_command_tells_how_much_it_freed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave("aaaa.zip.part", 3 * 2**20, days=10)
    leave("bbbb.zip.part", 2**20)
    assert main(["models", "clean", "--older-than", "5"]) == 0
    assert "Removed 1 unfinished downloads, 3.0 MiB. 1 newer or in use" in capsys.readouterr().out
    assert main(["models", "clean", "--json"]) == 0
    assert '"freed_bytes": 1048576' in capsys.readouterr().out
