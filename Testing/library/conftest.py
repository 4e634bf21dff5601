"""Fixtures of the tests of models, catalogs and downloads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.downloads.local_server import no_proxy, server  # noqa: F401
from fixtures.models.bundles import tiny_bundle
from mednext.library import archive, folder_locations


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of a file to download."""
    return tmp_path / "models" / "model.zip"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder of the user."""
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle in a zip file."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_bundle(folder / "tiny", folds=(0, 1))
    archive.pack(folder / "tiny", folder / "tiny.zip")
    return folder / "tiny.zip"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model that ships with the program, and the catalog beside it."""
    folder = tmp_path / "Resources" / "Models"
    tiny_bundle(folder / "default-model")
    catalog = folder_locations.shipped_models_folder() / "catalog.json"
    content = json.loads(catalog.read_text(encoding="utf-8"))
    entry = {"title": "T", "version": "1", "licence": "CC0-1.0", "task": "hippocampus"}
    content["models"].append({**entry, "name": "default-model"})
    (folder / "catalog.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(folder_locations, "PACKAGE", tmp_path)
    return "default-model"
