"""The imports at a start, which decide how quick it is. `make bench` measures the seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.environment.python_programs import output_of_python

HEAVY = {"torch", "numpy", "SimpleITK", "requests", "safetensors", "triton"}


def modules_after(program: str) -> set[str]:
    """The modules of a new process after `program`, without those that every Python has at its start."""
    text = f"{program}\nimport sys; print('modules', *sys.modules)"
    said = output_of_python("-c", text)
    return set(said.splitlines()[-1].split()[1:])


def test_importing_the_engine_imports_nothing_heavy() -> None:
    assert modules_after("import mednext") & (HEAVY | {"argparse", "json", "logging"}) == set()


def test_help_imports_nothing_but_the_parsers() -> None:
    program = """
from mednext.cli import main
for arguments in (["--help"], ["--version"], ["segment", "--help"], ["models", "--help"]):
    try: main(arguments)
    except SystemExit: pass
"""
    found = modules_after(program)
    assert found & (HEAVY | {"importlib.metadata", "platform", "email", "socket", "subprocess"}) == set()
    engine = {name.partition(".")[2] for name in found if name.startswith("mednext.")}
    others = {name for name in engine if name.split(".")[0] != "cli"}
    system = {"system", "system.devices", "system.shown_text", "system.terminal"}
    assert others == {"errors", "former_names", *system}


def test_a_run_imports_only_the_packages_that_it_needs() -> None:
    """Compilers, downloads and peers are imported on request."""
    found = modules_after("import mednext.inference.segment, mednext.network.formulation")
    left_out = {"triton", "torch._dynamo", "torch._inductor", "requests", "scipy", "highdicom"}
    assert found & left_out == set()


def test_the_worker_has_imported_all_packages_when_it_reports_ready() -> None:
    """Otherwise the first run would wait for them."""
    program = """
import sys
import numpy as np
from mednext.worker import serving
serving.import_engine()
ready = set(sys.modules)
from mednext import Geometry, Volume, segment
array = np.linspace(0, 1000, 49152, dtype=np.float32).reshape(1, 32, 48, 32) % 97
segment(Volume(array, Geometry((32, 48, 32), (1.0, 1.0, 1.0))), "hippocampus", mirroring=False, threads=1)
for name in ready - {"sys"}:
    del sys.modules[name]
"""
    late = modules_after(program)
    assert {name for name in late if name.split(".")[0] in {"mednext", "SimpleITK", "safetensors"}} == set()


def test_a_program_ends_without_a_search_for_garbage() -> None:
    """It would take half a second among the objects of torch."""
    program = """
from mednext.system.memory_settings import end_without_search
end_without_search()
class Kept:
    def __del__(self): print("searched", flush=True)
kept = Kept()
kept.itself = kept
"""
    assert output_of_python("-c", program) == ""


def test_the_worker_answers_before_it_imports_torch() -> None:
    assert "torch" not in modules_after("import mednext.worker.serving")


RECORD = """
import os, sys
if len(sys.orig_argv) > 1 and "segment" in sys.orig_argv:
    with open(os.environ["RECORD"], "a") as file:
        file.write(("tuned" if "mmap_max" in os.environ.get("GLIBC_TUNABLES", "") else "usual") + "\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_a_command_that_runs_networks_has_the_memory_settings_of_the_worker(tmp_path: Path) -> None:
    """glibc reads them when a process starts: the command starts itself again, once."""
    (tmp_path / "sitecustomize.py").write_text(RECORD, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "RECORD": str(tmp_path / "record")}
    environment.pop("GLIBC_TUNABLES", None)
    command = [sys.executable, "-m", "mednext", "segment", "missing.nii.gz", "-o", str(tmp_path / "x.nrrd")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "missing.nii.gz does not exist" in result.stderr
    assert (tmp_path / "record").read_text(encoding="utf-8").split() == ["usual", "tuned"]
