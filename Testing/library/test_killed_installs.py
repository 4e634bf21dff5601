"""A process that is killed while it changes the models leaves the old or the new model complete."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fixtures.faults.fault_table import Tally
from fixtures.models.bundles import tiny_bundle
from mednext.library import archive, shared_models_folder, store
from mednext.library.model_by_name import load_bundle
from mednext.system import atomic
from mednext.system.atomic import replacing_folder
from mednext.system.running_processes import signature


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2 of a model in a zip file."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_bundle(folder / "tiny", version="2.0.0")
    archive.pack(folder / "tiny", folder / "tiny.zip")
    return folder / "tiny.zip"


@pytest.fixture(scope="module")
def version_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with version 1."""
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "tiny")
    return folder


forks = pytest.mark.skipif(os.name != "posix", reason="a process is copied by fork")


def killed(action: str, packed: Path, models: Path) -> list[dict[str, Any]]:
    """For each killed process the result of the process, and of the next one."""
    testing = Path(__file__).parents[1]
    folders = [Path(store.__file__).parents[2], testing]
    run = subprocess.run(
        [sys.executable, "-m", "fixtures.faults.killed_processes", action, packed, models],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    *fates, last = (json.loads(line) for line in run.stdout.splitlines())
    assert last["change"] is None
    done = {"install": "replacing" if any(models.iterdir()) else "installing", "remove": "removing"}[action]
    tally = Tally("a model", f"killed between two changes of files while {done}")
    for fate in fates:
        tally.add(f"version {fate['found'][0]} whole" if fate["found"] else "none there")
    tally.keep()
    assert {fate["change"][0] for fate in fates} >= {"os.rename", "os.mkdir", "open"}
    return [*fates, last]


@forks
def test_wherever_a_replacement_is_killed_the_old_or_the_new_model_is_found(
    packed: Path, version_1: Path
) -> None:
    fates = killed("install", packed, version_1)
    versions = [version for fate in fates for version in fate["found"]]
    assert len(versions) == len(fates)
    assert versions == sorted(versions)  # at one point the new one takes over
    assert set(versions) == {"1.0.0", "2.0.0"}


@forks
def test_wherever_a_first_installation_is_killed_the_whole_model_is_there_or_none(
    packed: Path, tmp_path: Path
) -> None:
    fates = killed("install", packed, tmp_path)
    assert [fate["found"] for fate in fates] == sorted(fate["found"] for fate in fates)
    assert fates[-1]["found"] == ["2.0.0"]


@forks
def test_wherever_a_removal_is_killed_the_whole_model_is_there_or_none(packed: Path, version_1: Path) -> None:
    fates = killed("remove", packed, version_1)
    assert [fate["found"] for fate in fates] == sorted((fate["found"] for fate in fates), reverse=True)
    assert (fates[0]["found"], fates[-1]["found"]) == (["1.0.0"], [])


@forks
@pytest.mark.parametrize("action", ["install", "remove"])
def test_the_next_installation_removes_leftovers_at_once(action: str, packed: Path, version_1: Path) -> None:
    for fate in killed(action, packed, version_1):
        assert fate["left"] == ["tiny"], fate
        assert fate["after"] == ["2.0.0"]


def test_a_model_that_was_set_aside_is_found_in_a_folder_that_may_not_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(tmp_path / "tiny")
    (tmp_path / "tiny").rename(tmp_path / ".replaced-tiny")
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))

    def forbidden(*_: object) -> None:  # also for root
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shared_models_folder, "locked", forbidden)
    assert load_bundle("tiny").model.version == "1.0.0"
    assert [path.name for path in tmp_path.iterdir()] == [".replaced-tiny"]


def test_a_folder_that_was_set_aside_is_found_by_its_path_too(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    (tmp_path / "tiny").rename(tmp_path / ".replaced-tiny")
    assert load_bundle(tmp_path / "tiny").model.name == "tiny"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_that_another_process_brings_back_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        """Act as another process that brings the old folder back right after it was set aside."""
        result = real(self, target)
        if self == path:
            monkeypatch.setattr(Path, "replace", real)
            target.rename(path)
        return result

    with replacing_folder(path) as temporary:
        (temporary / "new").touch()
        monkeypatch.setattr(Path, "replace", replace)
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_the_leftovers_of_a_killed_installation_are_removed_a_day_later(packed: Path, models: Path) -> None:
    old, aside, new = (models / name for name in (".installing-old", ".mednext-old", ".installing-new"))
    for folder in (old, aside, new):
        folder.mkdir(parents=True)
    for folder in (old, aside):
        os.utime(folder, (time.time() - 2 * 24 * 3600,) * 2)
    store.install_from_zip(packed)
    assert not old.exists()
    assert not aside.exists()
    assert new.exists()
    assert store.find_model("tiny")


def test_the_staging_folder_of_a_process_that_runs_is_left_alone(packed: Path, models: Path) -> None:
    theirs = models / f".installing-{signature()}-0123456789ab"
    theirs.mkdir(parents=True)
    store.install_from_zip(packed)
    assert theirs.is_dir()


def test_a_staging_folder_that_another_process_has_just_removed_is_no_error(
    packed: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = models / ".installing-left"
    left.mkdir(parents=True)

    def has_ended(name: str) -> bool:
        left.rmdir()  # as the other process does, after ours has listed the folder
        return False

    monkeypatch.setattr(atomic, "has_ended", has_ended)
    store.install_from_zip(packed)
    assert store.find_model("tiny")
