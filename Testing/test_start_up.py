"""What is imported, and when: a start is quick by what it leaves out. Seconds are for `make bench`."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "SimpleITK", "requests", "safetensors", "openvino", "triton"}


def modules_after(program: str) -> set[str]:
    """The modules of a new process after `program`, without those that every Python has at its start."""
    text = f"{program}\nimport sys; print('modules', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    return set(said.splitlines()[-1].split()[1:])


def test_importing_the_engine_imports_nothing_heavy() -> None:
    assert modules_after("import mednext") & (HEAVY | {"argparse", "json", "logging"}) == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["segment", "--help"], ["models", "--help"]]
)
def test_help_imports_nothing_but_the_parsers(arguments: list[str]) -> None:
    program = f"from mednext.cli import main\ntry: main({arguments})\nexcept SystemExit: pass"
    found = modules_after(program)
    assert found & (HEAVY | {"importlib.metadata", "platform", "email", "socket", "subprocess"}) == set()
    engine = {name.split(".")[1] for name in found if name.startswith("mednext.")}
    assert engine == {"cli", "errors", "devices"}


def test_a_run_imports_nothing_that_it_does_not_need() -> None:
    """Peers, compilers and the network are for those who ask for them."""
    found = modules_after("import mednext.pipeline, mednext.acceleration")
    left_out = {"openvino", "triton", "torch._dynamo", "torch._inductor", "requests", "scipy", "highdicom"}
    assert found & left_out == set()


def test_the_worker_has_imported_all_when_it_says_that_it_is_ready() -> None:
    """Else the first run would wait for it."""
    program = """
import sys
import numpy as np
from mednext import worker
worker._import_engine()
ready = set(sys.modules)
from mednext import Geometry, Volume, segment
array = np.linspace(0, 1000, 49152, dtype=np.float32).reshape(1, 32, 48, 32) % 97
segment(Volume(array, Geometry((32, 48, 32), (1.0, 1.0, 1.0))), "hippocampus", mirroring=False, threads=1)
for name in ready:
    del sys.modules[name]
"""
    late = modules_after(program)
    assert {name for name in late if name.split(".")[0] in {"mednext", "SimpleITK", "safetensors"}} == set()


def test_the_worker_hears_its_client_before_it_imports_torch() -> None:
    assert "torch" not in modules_after("import mednext.worker")
