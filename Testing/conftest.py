"""Fixtures for all tests, such as the folder of real data, and a single thread for torch."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.machines.native_build import native_kernels, native_library_folder  # noqa: F401
from fixtures.panel.driving import logic, models, ready, volume, widget  # noqa: F401
from fixtures.panel.slots_and_dialogs import _no_open_question, dialogs, show_panel, slot_errors  # noqa: F401
from fixtures.training.nnunet_threads import nnunet_in_threads  # noqa: F401
from fixtures.training.planned_data import planned_data, training_workspace  # noqa: F401
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# The collection makes a million objects that stay: looking through them, again and again, takes seconds.
gc.disable()

# Before torch is imported: two threads would mostly wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before Triton is imported, perhaps by torch: without a card its kernels are interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Examples are the same in every run, and not timed, since other programs may use the processor.
# `pytest --hypothesis-profile=explore` tries new ones, and twice as many.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("explore", patient)
settings.register_profile("same examples", patient, derandomize=True, max_examples=50)
settings.load_profile("same examples")


def pytest_collection_finish() -> None:
    """Let Python look for garbage from now on, but not among the objects of the collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MEDNEXT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set MEDNEXT_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """The same random numbers for each test, whatever tests ran before it in this process."""
    random.seed(0)
    torch = sys.modules.get("torch")  # most tests need none
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture
def children_hear_ctrl_c() -> Iterator[None]:
    """Child processes react to Ctrl+C, which they would ignore if a shell started `make test &`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def scene() -> Any:
    """Slicer's empty scene; the first test that uses it starts Slicer."""
    import slicer_standin

    scene = slicer_standin.start().scene
    scene.Clear(0)
    return scene
