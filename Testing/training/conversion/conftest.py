"""The command under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mednext_training import cli


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., int]:
    """Run `mednext-train convert` in a workspace of its own; the exit code."""
    return lambda *words: cli.main(["--workspace", str(tmp_path / "runs"), "convert", *map(str, words)])
