"""Published models are downloaded, verified and installed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from fixtures.downloads.fetched_file import SHORT
from fixtures.downloads.http_server import Server, serve, status
from mednext.errors import (
    BundleFormatError,
    DownloadError,
    OptionError,
    UnknownModelError,
)
from mednext.library import store
from mednext.library.folder_locations import shipped_models_folder
from mednext.library.model_by_name import load_bundle

pytestmark = pytest.mark.usefixtures("models")


def publish(shipped_folder: Path, name: str, zip_file: Path, *urls: str) -> None:
    """Add a model of the task BTCV to the catalog."""
    path = shipped_folder / "catalog.json"
    catalog = json.loads(path.read_text(encoding="utf-8"))
    data = zip_file.read_bytes()
    download = {"urls": urls, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    entry = {"title": "T", "version": "1", "licence": "CC0-1.0", "task": "BTCV"}
    catalog["models"].append({**entry, "name": name, "download": download})
    path.write_text(json.dumps(catalog), encoding="utf-8")


def test_a_published_model_is_downloaded_and_installed(
    packed: Path, server: Server, shipped: str, models: Path
) -> None:
    urls = [server.answer("/gone", status(404)), server.answer("/tiny.zip", serve(packed.read_bytes()))]
    publish(shipped_models_folder(), "tiny", packed, *urls)
    with pytest.raises(UnknownModelError, match="mednext models install tiny"):
        store.find_model("tiny")
    with pytest.raises(UnknownModelError, match="its models are tiny"):
        store.find_model("BTCV")
    seen: list[int] = []
    store.install_published("tiny", progress=lambda done, total: seen.append(done), patience=SHORT)
    assert load_bundle("tiny").network(1)
    assert seen[-1] == packed.stat().st_size
    assert list((models / ".downloads").iterdir()) == []


def test_an_interrupted_installation_is_resumed(packed: Path, server: Server, models: Path) -> None:
    data = packed.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    url = server.answer("/tiny.zip", serve(data, hang_up_after=65536), status(404))
    with pytest.raises(DownloadError):
        store.install_from_url([url], sha256=digest, patience=SHORT)
    assert "tiny" not in store.installed_names()
    server.answer("/tiny.zip", serve(data))
    store.install_from_url([url], sha256=digest, patience=SHORT)
    assert server.requests[-1].headers["Range"] == "bytes=65536-"
    assert "tiny" in store.installed_names()


def test_a_download_that_is_another_model_is_refused(packed: Path, server: Server, models: Path) -> None:
    data = packed.read_bytes()
    url = server.answer("/tiny.zip", serve(data))
    with pytest.raises(BundleFormatError, match="holds the model 'tiny', not 'large'"):
        store.install_from_url([url], sha256=hashlib.sha256(data).hexdigest(), name="large", patience=SHORT)
    assert "tiny" not in store.installed_names()
    assert list((models / ".downloads").iterdir()) == []


def test_an_installed_model_is_not_downloaded(packed: Path, server: Server) -> None:
    store.install_from_zip(packed)
    url = server.answer("/tiny.zip", serve(packed.read_bytes()))
    with pytest.raises(OptionError, match="installed already"):
        store.install_from_url([url], sha256="0" * 64, name="tiny", patience=SHORT)
    assert server.requests == []


@pytest.mark.parametrize("digest", ["", "abc", "../../evil" + "0" * 54, "g" * 64, "0" * 65])
def test_a_malformed_digest_is_refused(digest: str, models: Path) -> None:
    with pytest.raises(OptionError, match="SHA-256"):
        store.install_from_url(["https://a.example/m.zip"], sha256=digest, patience=SHORT)
    assert not models.exists()
