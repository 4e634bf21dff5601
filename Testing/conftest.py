"""Fixtures for all tests: where the real data lies, and one thread of torch beside a busy machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from native_build import native_kernels, native_library_folder  # noqa: F401
from panel_driving import models, ready, volume, widget  # noqa: F401
from panel_fixtures import _no_open_question, dialogs, show_panel, slot_errors  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]

# Before torch is imported: on a busy machine two threads wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before Triton is imported, which torch may do: without a card its kernels are interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Nor does hypothesis time the examples: another program may have the processor for a while.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MEDNEXT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set MEDNEXT_DATA to run this test")
    return folder


@pytest.fixture
def scene() -> Any:
    """Slicer's scene, empty; Slicer is started when the first test asks for it."""
    import slicer_standin

    scene = slicer_standin.start().scene
    scene.Clear(0)
    return scene
