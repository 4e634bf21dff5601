"""A client of the worker with two small models, and a check that runs leave nothing behind."""

from __future__ import annotations

import tempfile

import pytest
from fixtures.models.bundles import tiny_order
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return tiny_order(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def fine(tmp_path_factory):
    return tiny_order(tmp_path_factory.mktemp("models") / "fine", spacing=(0.5, 0.5, 0.5))


@pytest.fixture(scope="session")
def client():
    """A client whose worker stays warm from test to test and from file to file, unless a test ends it."""
    client = WorkerClient()
    yield client
    client.shutdown()


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    """The parent of run folders, which must be empty at the end of the test."""
    folder = tmp_path / "temporary ü"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not any(folder.iterdir())
