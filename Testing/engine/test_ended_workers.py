"""A worker may die, hang or never start: the run is an explained error, and the next one works."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from fixtures.worker.dialogue import channel, environment
from fixtures.worker.runs import cancel, posix, python_that_runs, stage_reached, until_gone, worker_pid
from mednext import errors
from mednext.system.running_processes import is_running
from mednext.worker import protocol, run_folder
from mednext.worker.protocol import Order
from MedNeXtSegmentationLib.engine import conversation
from MedNeXtSegmentationLib.engine.child_process import ChildProcess, find_python
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient

WITHOUT_TORCH = """
import numpy as np
from pathlib import Path
from mednext.model.labels import Label
from mednext.segmentation.result import Segmentation
from mednext.system.cancellation import check_cancelled
from mednext.worker import protocol, serving
from mednext.worker.hand_over import HandedOver

def segment(worker, request, cancelled):
    (channel,), order, _ = protocol.read_request(Path(request.folder))
    worker.say(protocol.progress_event(request.run, "network"))
    while order.model == "endless":
        check_cancelled(cancelled)
        time.sleep(0.01)
    labelmap = (channel.array > channel.array.mean()).astype(np.uint8)
    result = Segmentation(labelmap, channel.geometry, (Label(1, "a", (1, 2, 3)),))
    HandedOver.of(result).write(Path(request.folder))

serving.import_engine, serving.accelerators, serving.Worker._segment = (lambda: ""), (lambda: ()), segment
serving.main(sys.argv[3:])
"""
QUICK, ENDLESS = Order("quick"), Order("endless")


@pytest.fixture
def quick_python(tmp_path):
    """A program in the place of Python whose worker is the real one, but for torch and for the networks."""
    (tmp_path / "quick").mkdir()
    return python_that_runs(tmp_path / "quick", WITHOUT_TORCH)


@pytest.fixture
def light(quick_python):
    client = WorkerClient(quick_python)
    yield client
    client.shutdown()


def works(client):
    return client.start([channel()], QUICK).wait().labelmap.any()


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_worker_that_does_not_answer_a_cancel_is_killed(light):
    run = light.start([channel()], ENDLESS)
    stage_reached(run, "network")
    pid = worker_pid(light)
    os.kill(pid, signal.SIGSTOP)  # as in a tile of minutes
    cancel(run)
    assert not is_running(pid)


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_killed_worker_is_explained_and_the_next_run_works(light):
    run = light.start([channel()], ENDLESS)
    stage_reached(run, "network")
    os.kill(worker_pid(light), signal.SIGKILL)
    with pytest.raises(errors.EngineProcessError, match="killed, probably for lack of memory"):
        run.wait()
    assert works(light)


@posix
@pytest.mark.usefixtures("temporary_folder")
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["died", "froze"])
def test_a_worker_that_died_or_froze_idle_does_not_fail_the_next_run(light, monkeypatch, fault):
    assert works(light)
    monkeypatch.setattr(conversation, "ACCEPTING_S", 0.5)
    first = worker_pid(light)
    os.kill(first, fault)
    state = Path(f"/proc/{first}/stat")  # until it has stopped, its other threads may still answer
    while fault == signal.SIGSTOP and state.exists() and ") T " not in state.read_text():
        time.sleep(0.01)
    assert works(light)
    assert worker_pid(light) != first
    until_gone(first)


LINGERING_LAUNCHER = """
import subprocess
subprocess.call([{python!r}, *sys.argv[1:]])
time.sleep(2)
"""


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_worker_that_died_idle_does_not_fail_the_next_run_even_if_its_launcher_lives(
    tmp_path, quick_python
):
    client = WorkerClient(python_that_runs(tmp_path, LINGERING_LAUNCHER.format(python=quick_python)))
    assert works(client)
    first = worker_pid(client)
    os.kill(first, signal.SIGKILL)
    assert works(client)
    assert worker_pid(client) != first
    client.shutdown()


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_hung_worker_is_found_by_its_silence(light, monkeypatch):
    assert works(light)
    monkeypatch.setattr(light, "silence_s", 2)
    run = light.start([channel()], ENDLESS)
    stage_reached(run, "network")
    pid = worker_pid(light)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(errors.EngineProcessError, match="sent nothing for 2 s"):
        run.wait()
    until_gone(pid)


FAILING_IMPORT = """
if os.path.exists({mark!r}):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
open({mark!r}, "w").close()
from mednext.errors import MissingPackageError
from mednext.worker import protocol
def say(event):
    print(protocol.format_message(event), end="", flush=True)
say(protocol.hello_event())
say(protocol.error_event(None, MissingPackageError("The engine cannot be loaded: no memory.")))
for line in sys.stdin:  # it ends slowly, and its other thread still takes requests
    say(protocol.progress_event(json.loads(line).get("run"), "starting"))
"""


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_run_does_not_reach_a_worker_that_ends_since_its_import_failed(tmp_path, quick_python):
    program = FAILING_IMPORT.format(mark=str(tmp_path / "failed once"), python=quick_python)
    client = WorkerClient(python_that_runs(tmp_path, f"import json\n{program}"))
    with pytest.raises(errors.MissingPackageError, match="no memory"):
        client.start([channel()], QUICK).wait()
    assert works(client)
    client.shutdown()


@posix
@pytest.mark.usefixtures("temporary_folder")
@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("sys.exit('No module named mednext')", "exit code 1.*No module named mednext"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "exit code -9.*memory"),
        ("sys.exit(0)", "without an answer"),
        ("print('Welcome to the cluster')", "Welcome to the cluster"),
        ("os.close(1); time.sleep(600)", "without an answer"),
        (
            """print('{"event": "hello", "protocol": 99}', flush=True); time.sleep(600)""",
            f"99.*version {protocol.LANGUAGE}",
        ),
        ("time.sleep(600)", "sent nothing for 1 s"),
    ],
)
def test_a_program_that_is_no_worker_is_explained(tmp_path, program, message):
    silence_s = 1 if "1 s" in message else 120  # only one of them is silent
    client = WorkerClient(python_that_runs(tmp_path, program), silence_s=silence_s)
    with pytest.raises(errors.EngineProcessError, match=message):
        client.start([channel()], Order("tiny")).wait()


CHATTY = """
print("Welcome to the cluster", flush=True)
print('{{"no": "event"}}', flush=True)
sys.stdout.buffer.write(bytes(range(128, 256)) + b"\\n" * 1000)
sys.stdout.flush()
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_garbage_on_standard_output_does_no_harm(tmp_path, quick_python):
    client = WorkerClient(python_that_runs(tmp_path, CHATTY.format(python=quick_python)))
    assert works(client)
    client.shutdown()


ENDLESS_LINE = """
import sys
for stream in (sys.stdout, sys.stderr):
    for _ in range(300):
        stream.write("x" * 2**16)
"""


def test_a_line_without_an_end_fills_no_memory():
    child, longest = ChildProcess(sys.executable, "-c", ENDLESS_LINE), 0
    while not (child.silent and child.complete):
        longest = max([longest, *map(len, child.lines())])
    assert 2**24 < longest < 2**24 + 2**17
    assert max(map(len, child.log)) == 2000


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_worker_that_cannot_be_killed_at_once_holds_nobody_up_and_is_not_asked_again(tmp_path, monkeypatch):
    client = WorkerClient(python_that_runs(tmp_path, "time.sleep(60)"))
    run = client.start([channel()], Order("tiny"))
    stage_reached(run, "sending")
    while not client.process:
        time.sleep(0.01)
    stuck = client.process
    # The system keeps a process that waits for a dead network drive.
    monkeypatch.setattr(ChildProcess, "kill", lambda _: None)
    client.shutdown()
    assert run.finished
    client.prepare()
    assert client.process is not stuck
    monkeypatch.undo()
    stuck.kill()
    client.shutdown()


LAUNCHER = """
import subprocess
sys.exit(subprocess.call([{python!r}, *sys.argv[1:]]))
"""


def test_a_shutdown_ends_a_worker_that_is_just_being_started():
    client = WorkerClient()
    client.prepare()
    client.shutdown()
    assert not client.process.alive


@posix
def test_a_worker_behind_a_launcher_is_ended_too(tmp_path, quick_python):
    client = WorkerClient(python_that_runs(tmp_path, LAUNCHER.format(python=quick_python)))
    client.prepare()
    while not worker_pid(client):
        time.sleep(0.01)
    pid = worker_pid(client)
    os.kill(pid, signal.SIGSTOP)
    client.shutdown()
    until_gone(pid)


def test_a_python_that_cannot_be_started_is_explained(tmp_path):
    client = WorkerClient(str(tmp_path / "absent"))
    client.prepare()
    with pytest.raises(errors.EngineProcessError, match="could not be started"):
        client.start([channel()], Order("tiny")).wait()


def test_only_the_folders_of_dead_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with run_folder.run_folder() as own:
        (tmp_path / own.name.replace(f"_{os.getpid()}_", f"_{dead.pid}_")).mkdir()
        kept = {own.name, f"mednext_other-computer_{dead.pid}_x", "mednext", "notes"}
        for name in kept - {own.name}:
            (tmp_path / name).mkdir()
        run_folder.remove_leftovers()
        assert {folder.name for folder in tmp_path.iterdir()} == kept


CRASH = """
import json, sys, time
from mednext.inference.options import Options
from mednext.worker.protocol import Order
from MedNeXtSegmentationLib.engine.worker_client import shared_client
from fixtures.environment.python_programs import write_python_program
from fixtures.worker.dialogue import channel
client = shared_client()
run = client.start([channel((96, 96, 96))], Order(sys.argv[1], Options("cpu")))
while all(event["stage"] == "sending" for event in run.poll()):
    assert not run.finished, run.result()
print(json.dumps({"worker": client.process.pid, "torch": "torch" in sys.modules}), flush=True)
if sys.argv[2] == "crash":
    time.sleep(600)
"""


@posix
@pytest.mark.parametrize("end", ["crash", "quit"])
def test_the_worker_ends_with_slicer_and_the_next_start_cleans_up(tmp_path, fine, end, monkeypatch):
    command = [sys.executable, "-c", CRASH, fine.model, end]
    variables = {**environment(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    slicer = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE)
    said = json.loads(slicer.stdout.readline())
    assert said["torch"] is False
    if end == "crash":
        assert list(tmp_path.iterdir())
        slicer.kill()
    slicer.wait()
    until_gone(said["worker"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_folder.remove_leftovers()
    assert not list(tmp_path.glob("mednext_*"))


def test_slicers_own_python_is_preferred(tmp_path, monkeypatch):
    executable = tmp_path / "PythonSlicer"
    executable.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python() == str(executable)


def test_the_application_itself_is_never_started_as_python(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    with pytest.raises(errors.EngineProcessError, match="PythonSlicer"):
        find_python()


def test_the_remedy_for_too_many_open_files_is_not_to_install_slicer_again(monkeypatch):
    def refuse(*_arguments, **_named):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(errors.EngineProcessError, match=r"Too many open files.*restart Slicer"):
        WorkerClient().start([channel()], QUICK).wait()


def test_voxels_that_could_not_be_removed_are_removed_before_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as few_files, run_folder.run_folder() as folder:
        (folder / "channel_0.npy").touch()
        few_files.setattr("shutil.rmtree", lambda *_arguments, **_named: None)
    assert folder.exists()
    with run_folder.run_folder():
        assert not folder.exists()
