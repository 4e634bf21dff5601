"""Running and ended processes are told apart, also by the names of their files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mednext.system.child_processes import leave_deleted_folder
from mednext.system.running_processes import has_ended, is_running, signature


def test_a_process_runs_until_it_is_ended():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert is_running(process.pid)
    process.kill()
    process.wait()
    assert not is_running(process.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process 1")
def test_a_process_of_another_user_counts():
    assert is_running(1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_has_ended_even_if_its_parent_has_not_noticed():
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    deadline = time.monotonic() + 100
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)
    assert os.waitpid(pid, os.WNOHANG)[0] == pid


def test_a_name_tells_whether_its_process_has_ended():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    ours = f".mednext-{signature()}-0123456789ab.nii.gz"
    ended = ours.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    assert has_ended(ended)
    assert not has_ended(ours)
    assert not has_ended(f".mednext-ffffffff-{process.pid}-0123456789ab.nii.gz")  # of another computer
    assert not has_ended(".mednext-0123456789ab.nii.gz")


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps the current folder")
def test_a_process_leaves_a_current_folder_that_was_deleted(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    leave_deleted_folder()
    assert Path.cwd() == Path(os.sep)
