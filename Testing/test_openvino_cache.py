"""What was converted for OpenVINO is used while it is whole, and goes with its model or with time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import tiny_bundle
from mednext import openvino_cache, store
from mednext.bundle import load_bundle

LONG_AGO = time.time() - 100 * 86400


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mednext" / "openvino"


def conversion(weights_sha256: str = "", digest: str = "0123456789abcdef") -> Path:
    folder = openvino_cache.conversion_folder(weights_sha256, digest)
    folder.mkdir(parents=True)
    (folder / "model.xml").write_text("<net/>", encoding="ascii")
    (folder / "model.bin").write_bytes(bytes(1000))
    openvino_cache.seal(folder)
    return folder


def test_a_conversion_is_whole_as_it_was_written() -> None:
    assert openvino_cache.is_whole(conversion())


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "sha256.txt"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:5] + b"~" + file.read_bytes()[6:]),
        lambda file: file.write_bytes(file.read_bytes()[:5]),
        lambda file: file.unlink(),
    ],
    ids=["changed", "truncated", "missing"],
)
def test_a_damaged_conversion_is_not_whole(name: str, damage: Callable[[Path], object]) -> None:
    folder = conversion()
    damage(folder / name)
    assert not openvino_cache.is_whole(folder)


def test_a_conversion_that_was_never_made_is_not_whole_and_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not openvino_cache.is_whole(openvino_cache.conversion_folder("", "0123456789abcdef"))
    assert not caplog.records


def test_a_model_that_is_removed_takes_its_conversions_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    for name, folds in (("one", (0, 1)), ("other", (2,))):
        store.install_from_folder(tiny_bundle(tmp_path / name, folds=folds).path)
    ours = [conversion(fold.sha256, d) for fold in load_bundle("one").model.folds for d in ("ab", "cd")]
    others = [conversion(load_bundle("other").fold(2).sha256), conversion()]
    store.remove("one")
    assert not any(folder.exists() for folder in ours)
    assert all(folder.is_dir() for folder in others)


def test_conversions_that_nobody_has_used_for_long_go(cache: Path) -> None:
    used, unused, unfinished = conversion(digest="a"), conversion(digest="b"), cache / ".mednext-0123"
    unfinished.mkdir()
    for path in (used / "sha256.txt", unused / "sha256.txt", unfinished):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert openvino_cache.is_whole(used)
    openvino_cache.remove_unused()
    assert list(cache.iterdir()) == [used]


def test_a_cache_that_cannot_be_written_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = conversion()

    def forbidden(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", forbidden)
    assert openvino_cache.is_whole(folder)


def test_without_a_cache_there_is_nothing_to_remove() -> None:
    openvino_cache.remove_unused()
    openvino_cache.forget(["0123456789abcdef" * 4])
