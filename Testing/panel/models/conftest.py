"""A panel whose catalog and models come from a server of the test's own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json

import pytest
import slicer
from fixtures.downloads.http_server import Server, serve
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import MODULE
from mednext import cli
from mednext.library import archive
from mednext.library.folder_locations import shipped_models_folder
from mednext.worker.protocol import error_from_event

LICENCE = {"free": "CC BY 4.0", "restricted": "CC BY-NC-SA 4.0"}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder of the user's."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The zip file of a model."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_bundle(folder / "free", title="Free model", task="hippocampus")
    archive.pack(folder / "free", folder / "free.zip")
    return folder / "free.zip"


@pytest.fixture
def server(packed, monkeypatch):
    """Publishes the models "free" and "restricted"; each test scripts the first answer."""
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    data = packed.read_bytes()
    with Server() as running:
        for name, task in (("free", "hippocampus"), ("restricted", "KiTS19")):
            url = running.answer(f"/{name}.zip", serve(data))
            download = {"urls": [url], "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            entry = {"name": name, "task": task, "title": "S", "version": "1.0.0", "licence": LICENCE[name]}
            catalog["models"].append({**entry, "download": download})
        monkeypatch.setenv(
            "MEDNEXT_CATALOG_URL", running.answer("/catalog.json", serve(json.dumps(catalog).encode()))
        )
        yield running


@pytest.fixture
def panel(server, models, monkeypatch, show_panel):
    """The panel, with a catalog from the server."""
    from mednext.library.catalog_source import load_catalog

    monkeypatch.setenv("MEDNEXT_MODELS", str(models))
    load_catalog(refresh=True)
    slicer.app.userSettings().clear()
    return show_panel(MODULE)[1]


@pytest.fixture
def here(monkeypatch):
    """Run commands in this process, after some turns of the event loop; each of their own imports torch."""
    from MedNeXtSegmentationLib.engine.run import WAITING, Run
    from MedNeXtSegmentationLib.panel.models import command_view

    def start(*arguments):
        def steps(run):
            for _ in range(3):
                yield WAITING
                run.check_cancelled()
            with contextlib.redirect_stdout(io.StringIO()) as said:
                cli.main([*arguments, "--json"])
            document = json.loads(said.getvalue())
            if document["ok"]:
                return document
            raise error_from_event(document)

        return Run(steps)

    monkeypatch.setattr(command_view, "start_command", start)
