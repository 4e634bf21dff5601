"""Commands of the engine in a process of their own: their messages to Slicer, and their ends."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import pytest
from fixtures.downloads.http_server import Server, serve, stall_after
from fixtures.environment.python_programs import write_python_program
from fixtures.models.bundles import tiny_bundle
from mednext.errors import AlreadyInstalledError, Cancelled, EngineProcessError
from mednext.library import archive
from mednext.system.running_processes import is_running

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows starts no scripts as programs")


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    monkeypatch.setenv("MEDNEXT_MODELS", str(folder))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return folder


@pytest.fixture
def command(scene):
    """The module under test, which needs Slicer's classes."""
    from MedNeXtSegmentationLib.engine import command

    return command


@pytest.fixture
def start(command):
    return command.start_command


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    tiny_bundle(folder / "tiny")
    archive.pack(folder / "tiny", folder / "tiny.zip")
    return folder / "tiny.zip"


@pytest.fixture
def server():
    with Server() as running:
        yield running


def test_a_command_reports_its_progress_and_answers_with_its_result(start, packed, server):
    data = packed.read_bytes()
    url = server.answer("/tiny.zip", serve(data))
    events = []
    run = start("models", "install", url, "--sha256", hashlib.sha256(data).hexdigest())
    assert run.wait(events.append)["model"]["name"] == "tiny"
    assert events[-1] == {"stage": "downloading", "done": len(data), "total": len(data)}


def test_an_error_keeps_its_class_and_sentence(start, packed):
    start("models", "install", str(packed)).wait()
    with pytest.raises(AlreadyInstalledError, match="'tiny' is installed already"):
        start("models", "install", str(packed)).wait()


def test_cancelling_ends_the_process_and_keeps_the_downloaded_part(start, packed, server, models):
    data = packed.read_bytes()
    url = server.answer("/tiny.zip", stall_after(data, 65536))
    run = start("models", "install", url, "--sha256", hashlib.sha256(data).hexdigest())
    while not any(event["done"] for event in run.poll()):
        time.sleep(0.05)
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait()  # the server would be silent for ever
    assert [path.stat().st_size for path in (models / ".downloads").glob("*.part")] == [65536]


@posix
def test_a_process_that_ends_without_an_answer_is_explained(start, monkeypatch, tmp_path):
    write_python_program(tmp_path / "PythonSlicer", "import os; print('noise'); os._exit(7)\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(EngineProcessError, match="exit code 7"):
        start("models", "list").wait()


@posix
def test_a_process_that_does_not_react_is_ended(start, monkeypatch, tmp_path):
    pid_file = tmp_path / "pid"
    write_python_program(
        tmp_path / "PythonSlicer",
        "import os, time, pathlib\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        'print(\'{"stage": "x", "done": 0, "total": 1}\', flush=True)\ntime.sleep(600)\n',
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    run = start("models", "list")
    while not run.poll():
        time.sleep(0.05)
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait()
    assert not is_running(int(pid_file.read_text()))


def test_windows_ends_the_launcher_and_its_children(scene, monkeypatch):
    """PythonSlicer starts Python and waits: without it, Windows would no longer know whose child that is."""
    from MedNeXtSegmentationLib.engine import child_process

    launcher = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    asked = []
    monkeypatch.setattr(subprocess, "Popen", lambda arguments, **_: asked.append(arguments))
    child_process.end_tree(launcher)
    assert [argument for argument in asked[0] if argument[0] == "/"][-3:] == ["/PID", "/T", "/F"]
    assert str(launcher.pid) in asked[0] and launcher.poll() is None

    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "Popen", missing)
    child_process.end_tree(launcher)
    assert launcher.wait(60) != 0
    launcher.stdin.close()
