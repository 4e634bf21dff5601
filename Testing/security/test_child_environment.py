"""Our child processes know no secret of their parent, load no code of a strange folder, and dump no core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mednext.images.geometry import Geometry
from mednext.images.volume import write_image
from mednext.inference.options import Options
from mednext.server.ray_engines import _bare_environment
from mednext.system.child_processes import child_environment
from mednext.worker.crew.job import CrewJob
from mednext.worker.crew.processes import PROGRAM, ProcessWorker
from mednext.worker.protocol import Order
from mednext.worker.reading_process import ReadingProcess
from MedNeXtSegmentationLib.engine.child_process import ChildProcess

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
    "GITHUB_TOKEN": "planted-github",
    "HF_TOKEN": "planted-hub",
    "MEDNEXT_SERVER_KEY": "planted-key",
    "MEDNEXT_DICOMWEB_USER": "planted-user",
    "MEDNEXT_DICOMWEB_PASSWORD": "planted-password",
    "PYTHON_KEYRING_TOKEN": "planted-keyring",
    "DATABASE_URL": "postgres://planted",
    "SSH_AUTH_SOCK": "/run/planted",
    "HOSPITAL": "planted",
}
KEPT = {"CUDA_VISIBLE_DEVICES": "0", "HTTPS_PROXY": "http://proxy:3128", "OMP_NUM_THREADS": "1"}

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, **KEPT}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def strange_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules that betray their import."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in ("json", "numpy", "torch", "requests", "mednext", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(folder)
    yield folder
    assert not (tmp_path / "loaded").exists()


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def core_limit_of(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Max core file size")]
    return line.split()[4:6]


def test_a_child_gets_what_the_engine_needs_and_no_secret() -> None:
    given = child_environment()
    assert not set(SECRETS) & set(given)
    assert "planted" not in " ".join(given.values())
    assert {name: given[name] for name in KEPT} == KEPT
    assert given["PATH"] == os.environ["PATH"]


def test_a_folder_on_the_python_path_stays_and_the_current_one_does_not_join_it() -> None:
    paths = os.pathsep.join(["", "relative", "/absolute", ""])
    given = child_environment({"PYTHONPATH": paths})["PYTHONPATH"].split(os.pathsep)
    assert given[1:] == [str(Path("relative").absolute()), "/absolute"]
    assert Path(given[0], "mednext").is_dir()


@needs_proc
def test_the_process_that_reads_images_is_bare(strange_folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.nii.gz"
    write_image(image, np.arange(60, dtype=np.int16).reshape(3, 4, 5), Geometry((5, 4, 3), (1, 1, 1)))
    with ReadingProcess() as reading:
        reading.read([str(image)], insist=True)
        assert reading.pid
        assert "planted" not in environment_of(reading.pid)
        assert core_limit_of(reading.pid) == ["0", "0"]


@needs_proc
def test_a_worker_of_a_batch_is_bare(strange_folder: Path, tmp_path: Path) -> None:
    job = CrewJob(Order("hippocampus", Options()), str(tmp_path / "nowhere"), tmp_path, "probe")
    events = []
    worker = ProcessWorker(job, events.append, [sys.executable, "-c", "import os; print(dict(os.environ))"])
    assert "planted" not in environment_of(int(worker.name))
    worker.kill()
    real = ProcessWorker(job, events.append, PROGRAM)
    real._process.wait(60)
    assert real._process.returncode == 2  # it has found no folder, after all of its imports


@needs_proc
def test_the_engine_of_slicer_is_bare(strange_folder: Path) -> None:
    child = ChildProcess(
        sys.executable, "-m", "mednext.worker", "--parent", str(os.getpid()), "--without-engine"
    )
    try:
        while not any("hello" in line for line in child.lines()):
            assert child.exit_code is None, list(child.log)
        pid = child._process.pid
        assert "planted" not in environment_of(pid)
        while core_limit_of(pid) != ["0", "0"]:
            assert child.exit_code is None
    finally:
        child.kill()
        child.wait_for_end(10)


def test_a_command_that_restarts_itself_loads_no_code_of_the_current_folder(strange_folder: Path) -> None:
    program = (
        "from mednext.system.memory_settings import restart_tuned; restart_tuned('mednext', ['--version'])"
    )
    variables = {name: value for name, value in child_environment().items() if name != "GLIBC_TUNABLES"}
    del variables["PYTHONSAFEPATH"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=variables, capture_output=True, text=True, check=True
    )
    assert sys.platform != "linux" or done.stdout.startswith("mednext ")


def test_the_processes_of_ray_start_without_secrets_and_the_server_keeps_its_own() -> None:
    before = dict(os.environ)
    with _bare_environment():
        assert "planted" not in " ".join(os.environ.values())
    assert dict(os.environ) == before
