"""Models are installed, removed and moved between computers completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.downloads.zip_files import zipped
from fixtures.models.bundles import tiny_bundle
from mednext.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    DiskSpaceError,
    OptionError,
    OutputError,
    UnknownModelError,
    UnsafePathError,
    WeightsUnavailableError,
)
from mednext.library import archive, store
from mednext.library.folder_locations import models_folder
from mednext.library.model_by_name import load_bundle

pytestmark = pytest.mark.usefixtures("models")


def assert_untouched(models: Path) -> None:
    """Assert that there is neither a model nor a part of one."""
    assert not models.exists() or [path.name for path in models.iterdir()] == []


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def test_an_installed_model_is_found_loaded_and_listed(packed: Path, models: Path) -> None:
    model = store.install_from_zip(packed)
    assert store.find_model("tiny") == models / "tiny"
    assert load_bundle("tiny").model == model
    assert model in store.installed_models()
    assert [path.name for path in models.iterdir()] == ["tiny"]


def test_listing_the_models_imports_neither_torch_nor_packages_for_the_network() -> None:
    code = (
        "import sys; from mednext.library import catalog_source, store; "
        "catalog_source.load_catalog(), store.installed_models(); "
        "sys.exit(bool({'torch', 'requests', 'safetensors', 'SimpleITK'} & set(sys.modules)))"
    )
    engine = Path(store.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=engine, check=False).returncode == 0


def test_a_zip_of_the_folder_itself_is_installed_too(packed: Path, tmp_path: Path) -> None:
    inner = {f"My models/{name}": data for name, data in members_of(packed).items()}
    clutter = {"__MACOSX/My models/._model.json": b"x", "My models/.DS_Store": b"x"}
    store.install_from_zip(zipped(tmp_path, {**clutter, **inner}))
    assert sorted(path.name for path in store.find_model("tiny").iterdir()) == [
        "fold_0.safetensors",
        "fold_1.safetensors",
        "model.json",
    ]


def test_a_model_travels_to_another_computer_unchanged(packed: Path, tmp_path: Path) -> None:
    store.install_from_zip(packed)
    exported = store.export_zip("tiny", tmp_path / "out.zip")
    assert members_of(exported) == members_of(packed)


def test_the_same_model_is_exported_to_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    store.install_from_zip(packed)
    for path in store.find_model("tiny").iterdir():
        os.utime(path, (1e9, 1e9))
    assert store.export_zip("tiny", tmp_path / "out.zip").read_bytes() == packed.read_bytes()


def test_an_export_overwrites_only_on_request(packed: Path, tmp_path: Path) -> None:
    store.install_from_zip(packed)
    (tmp_path / "out.zip").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        store.export_zip("tiny", tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_text() == "precious"
    store.export_zip("tiny", tmp_path / "out.zip", overwrite=True)
    assert zipfile.is_zipfile(tmp_path / "out.zip")


def test_an_installed_model_is_replaced_only_on_request(packed: Path, tmp_path: Path) -> None:
    store.install_from_zip(packed)
    tiny_bundle(tmp_path / "new" / "tiny", version="2.0.0")
    archive.pack(tmp_path / "new" / "tiny", tmp_path / "new.zip")
    with pytest.raises(OptionError, match="installed already"):
        store.install_from_zip(tmp_path / "new.zip")
    assert load_bundle("tiny").model.version == "1.0.0"
    store.install_from_zip(tmp_path / "new.zip", overwrite=True)
    assert load_bundle("tiny").model.version == "2.0.0"
    assert not (store.find_model("tiny") / "fold_1.safetensors").exists()


def test_a_removed_model_is_gone(packed: Path, models: Path) -> None:
    store.install_from_zip(packed)
    store.remove("tiny")
    assert_untouched(models)
    with pytest.raises(UnknownModelError):
        store.find_model("tiny")


def test_a_model_that_is_not_installed_cannot_be_removed() -> None:
    with pytest.raises(UnknownModelError, match="no model 'tiny'"):
        store.remove("tiny")


def test_the_shipped_model_is_found_without_a_models_folder(shipped: str, models: Path) -> None:
    assert store.installed_names() == [shipped]
    assert load_bundle(shipped).model.name == shipped
    assert not models.exists()


def test_the_shipped_model_cannot_be_removed(shipped: str) -> None:
    with pytest.raises(OptionError, match="comes with the program and cannot be removed"):
        store.remove(shipped)
    assert store.find_model(shipped).is_dir()


def test_the_shipped_model_cannot_be_replaced(shipped: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be replaced"):
        store.install_from_zip(store.export_zip(shipped, tmp_path / "out.zip"), overwrite=True)


def test_the_shipped_model_needs_no_installing(shipped: str) -> None:
    with pytest.raises(OptionError, match="nothing to install"):
        store.install_published(shipped)


def test_the_error_for_an_unknown_model_lists_the_known_ones(packed: Path) -> None:
    store.install_from_zip(packed)
    with pytest.raises(UnknownModelError, match=r"no model 'tinny'.*Installed models: .*tiny.*BTCV, AMOS22"):
        store.find_model("tinny")


def test_the_error_for_a_task_without_weights_tells_how_to_get_them() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"(?i)'BTCV'.*train.*import"):
        store.find_model("btcv")
    with pytest.raises(WeightsUnavailableError):
        store.install_published("BTCV")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "/etc", "C:x", "con", "nul.txt", "a b", "x" * 65, "a."]
)
def test_a_name_that_cannot_be_a_folders_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="name of a model"):
        store.check_name(name)
    with pytest.raises(UnknownModelError):
        store.find_model(name)


@pytest.mark.parametrize("name", ["hippocampus", "BTCV-S.k3_v2", "1"])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert store.check_name(name) == name


def test_a_damaged_model_does_not_hide_the_others(packed: Path, models: Path) -> None:
    store.install_from_zip(packed)
    (models / "broken").mkdir()
    (models / "broken" / "model.json").write_text("{")
    assert "tiny" in [model.name for model in store.installed_models()]


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, ".local/share/mednext/models"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/mednext/models"),
        ("darwin", {}, "Library/Application Support/mednext"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mednext/models"),
        ("win32", {}, "AppData/Local/mednext/models"),
        ("linux", {"MEDNEXT_MODELS": "/anywhere"}, "/anywhere"),
    ],
)
def test_the_models_folder_is_where_the_platform_keeps_a_users_data(
    platform: str,
    variables: dict[str, str],
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("MEDNEXT_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert models_folder() == tmp_path / folder


def test_a_models_folder_in_the_home_of_an_unknown_user_is_taken_literally(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", "~nobody-of-this-name/models")
    assert models_folder() == Path("~nobody-of-this-name/models")


def test_an_unsafe_zip_leaves_nothing(packed: Path, tmp_path: Path, models: Path) -> None:
    with pytest.raises(UnsafePathError):
        store.install_from_zip(zipped(tmp_path, {**members_of(packed), "../evil": b"evil"}))
    assert_untouched(models)
    assert not (tmp_path / "evil").exists()


def test_a_zip_without_a_model_is_refused(tmp_path: Path, models: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"no model\.json"):
        store.install_from_zip(zipped(tmp_path, {"holiday.jpg": b"x"}))
    assert_untouched(models)


@pytest.mark.parametrize("change", ["missing fold", "flipped bit", "unsafe fold", "unsafe name"])
def test_a_zip_of_an_unsound_bundle_is_refused(
    change: str, packed: Path, tmp_path: Path, models: Path
) -> None:
    members = members_of(packed)
    description: dict[str, Any] = json.loads(members["model.json"])
    if change == "missing fold":
        del members["fold_1.safetensors"]
    if change == "flipped bit":
        weights = bytearray(members["fold_1.safetensors"])
        weights[-1] ^= 1
        members["fold_1.safetensors"] = bytes(weights)
    if change == "unsafe fold":
        description["folds"][0]["file"] = "../fold_0.safetensors"
    if change == "unsafe name":
        description["name"] = "../tiny"
    members["model.json"] = json.dumps(description).encode()
    with pytest.raises(BundleError):
        store.install_from_zip(zipped(tmp_path, members))
    assert_untouched(models)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("kind", ["link to itself", "pipe", "device", "folder", "missing"])
@pytest.mark.parametrize("file", ["model.json", "fold_0.safetensors"])
def test_a_folder_with_pipes_in_place_of_files_is_refused(
    file: str, kind: str, tmp_path: Path, models: Path
) -> None:
    path = tiny_bundle(tmp_path / "theirs" / "tiny").path / file
    path.unlink()
    if kind == "link to itself":
        path.symlink_to(path)
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "device":
        path.symlink_to("/dev/zero")
    if kind == "folder":
        path.mkdir()
    with pytest.raises(BundleError, match=file):
        store.install_from_folder(path.parent)
    assert_untouched(models)
    with pytest.raises(BundleError, match=file):
        load_bundle(path.parent).network(0)


def test_a_folder_is_not_copied_to_a_disk_that_is_too_small(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_bundle(tmp_path / "theirs" / "tiny").path
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DiskSpaceError, match="has 0 MiB free"):
        store.install_from_folder(source)
    assert_untouched(models)


def press_ctrl_c(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_copying_a_folder_can_be_cancelled(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_bundle(tmp_path / "theirs" / "tiny").path
    monkeypatch.setattr(shutil, "copyfileobj", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        store.install_from_folder(source)
    assert_untouched(models)


def test_a_failed_replacement_leaves_the_installed_model(packed: Path, tmp_path: Path) -> None:
    store.install_from_zip(packed)
    members = members_of(packed)
    del members["fold_1.safetensors"]
    with pytest.raises(BundleIntegrityError):
        store.install_from_zip(zipped(tmp_path, members), overwrite=True)
    load_bundle("tiny").network(1)


def test_a_damaged_installed_model_is_not_exported(packed: Path, tmp_path: Path) -> None:
    store.install_from_zip(packed)
    (store.find_model("tiny") / "fold_0.safetensors").write_bytes(b"x")
    with pytest.raises(BundleIntegrityError):
        store.export_zip("tiny", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_installing_can_be_cancelled(packed: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile.ZipExtFile, "read", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        store.install_from_zip(packed)
    assert_untouched(models)


def test_a_models_folder_that_is_a_file_is_an_error_that_names_it(packed: Path, models: Path) -> None:
    models.write_text("not a folder")
    with pytest.raises(OutputError, match="models"):
        store.install_from_zip(packed)


def test_a_models_folder_that_cannot_be_read_holds_no_models(models: Path) -> None:
    models.write_text("not a folder")
    assert "hippocampus" in store.installed_names()


def test_of_two_that_install_the_same_model_at_once_one_wins(packed: Path, models: Path) -> None:
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(store.install_from_zip, packed) for _ in range(2)]
    (refused,) = (error for error in (future.exception() for future in both) if error is not None)
    assert isinstance(refused, OptionError)
    assert load_bundle("tiny").network(1)
    assert [path.name for path in models.iterdir()] == ["tiny"]
