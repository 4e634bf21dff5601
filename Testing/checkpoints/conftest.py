"""Fixtures of the tests that install checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.downloads.local_server import server  # noqa: F401


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder of the user; no proxy is asked for this computer."""
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "models"
