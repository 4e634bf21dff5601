"""The client of the worker gives results or explained errors, whatever happens to the worker."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle
from mednext import errors
from mednext.inference.options import Options
from mednext.system.running_processes import is_running
from mednext.worker import protocol, run_folder
from mednext.worker.hand_over import Wishes
from mednext.worker.protocol import Order
from MedNeXtSegmentationLib.engine.child_process import ChildProcess, find_python
from MedNeXtSegmentationLib.engine.run import Run
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient
from python_programs import write_python_program
from worker_dialogue import channel, environment, stages

SLOW = (96, 96, 96)  # for `fine`: 8 mirrored copies of thousands of tiles, on any machine more than enough

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these signals nor scripts")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Order(str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path), Options("cpu"))


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "fine"
    return Order(str(tiny_bundle(folder, spacing=(0.5, 0.5, 0.5)).path), Options("cpu"))


@pytest.fixture(scope="module")
def client():
    """A client whose worker stays warm from test to test, unless a test ends it."""
    client = WorkerClient()
    yield client
    client.shutdown()


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    """The parent of run folders, which must be empty at the end of the test."""
    folder = tmp_path / "temporary ü"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not any(folder.iterdir())


def stage_reached(run, stage):
    """Ask as the panel's timer does, until the run tells of this stage; all events until then."""
    events = []
    while not any(event["stage"] == stage for event in events):
        assert not run.finished, events
        events += run.poll()
    return events


def worker_pid(client):
    client.process.hear()
    return client.process.pid


def cancel(run):
    """Cancel a run that would take an hour, and wait for its end."""
    run.cancel()
    with pytest.raises(errors.Cancelled):
        run.wait()


@pytest.mark.usefixtures("temporary_folder")
def test_the_second_run_finds_the_worker_warm(client, tiny):
    first, second = [], []
    segmentation = client.start([channel()], tiny).wait(first.append)
    again = client.start([channel()], tiny).wait(second.append)
    assert segmentation.labelmap.shape == (20, 36, 24)
    assert np.array_equal(segmentation.labelmap, again.labelmap)
    assert stages(first)[0] == "sending" and "loading" in stages(first)
    assert stages(second) == ["sending", "reading", "preprocessing", "network", "postprocessing"]
    assert client.accelerators() is not None


@pytest.mark.usefixtures("temporary_folder")
def test_a_timer_can_ask_how_far_a_run_is(client, tiny):
    run = client.start([channel()], tiny)
    events = []
    while not run.finished:
        events += run.poll()
    events += run.poll()
    tiles = [event for event in events if event["stage"] == "network"]
    assert [tile["done"] for tile in tiles] == list(range(tiles[0]["total"] + 1))
    assert run.result().provenance["model"] == "tiny"


def test_a_run_can_be_cancelled_while_its_result_is_taken(client, tiny):
    reached = []

    def take(run, _result):
        while True:
            run.check_cancelled()
            reached.append(True)
            yield True

    run = Run(lambda run: client.segmenting(run, [channel()], tiny, Wishes(), take))
    while not reached:
        run.advance()
    cancel(run)
    assert client.start([channel()], tiny).wait().labelmap.shape == (20, 36, 24)


def test_a_result_goes_with_whoever_asked_for_it(client, tiny):
    """A large one with its uncertainty takes half a GB."""
    run = client.start([channel()], tiny)
    result = weakref.ref(run.wait())
    assert result() is not None
    del run
    gc.collect()
    assert result() is None


def test_runs_wait_for_each_other(client, tiny):
    runs = [client.start([channel(seed=seed)], tiny) for seed in range(3)]
    found = [run.wait().labelmap for run in runs]
    assert not np.array_equal(found[0], found[1])


@pytest.mark.usefixtures("temporary_folder")
def test_a_run_that_waits_its_turn_can_be_cancelled(client, tiny, fine):
    first, second = client.start([channel(SLOW)], fine), client.start([channel()], tiny)
    cancel(second)
    assert not first.finished
    cancel(first)


@pytest.mark.usefixtures("temporary_folder")
def test_a_run_is_cancelled_during_its_tiles_and_the_next_one_is_warm(client, tiny, fine):
    client.start([channel()], tiny).wait()
    pid = worker_pid(client)
    run = client.start([channel(SLOW)], fine)
    stage_reached(run, "network")
    cancel(run)
    events = []
    client.start([channel()], tiny).wait(events.append)
    assert "loading" not in stages(events)
    assert worker_pid(client) == pid


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_worker_that_does_not_answer_a_cancel_is_killed(client, fine):
    run = client.start([channel(SLOW)], fine)
    stage_reached(run, "network")
    pid = worker_pid(client)
    os.kill(pid, signal.SIGSTOP)  # as in a tile of minutes
    cancel(run)
    assert not is_running(pid)


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_killed_worker_is_explained_and_the_next_run_works(client, tiny, fine):
    run = client.start([channel(SLOW)], fine)
    stage_reached(run, "network")
    os.kill(worker_pid(client), signal.SIGKILL)
    with pytest.raises(errors.EngineProcessError, match="killed, probably for lack of memory"):
        run.wait()
    kill_while_idle(client)  # and one that dies between two runs is not even noticed
    assert client.start([channel()], tiny).wait().labelmap.any()


LINGERING_LAUNCHER = """
import subprocess
subprocess.call([{python!r}, *sys.argv[1:]])
time.sleep(2)
"""


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_worker_that_died_idle_does_not_fail_the_next_run_even_if_its_launcher_lives(tmp_path, tiny):
    client = WorkerClient(python_that_runs(tmp_path, LINGERING_LAUNCHER.format(python=sys.executable)))
    assert client.start([channel()], tiny).wait().labelmap.any()
    first = worker_pid(client)
    os.kill(first, signal.SIGKILL)
    assert client.start([channel()], tiny).wait().labelmap.any()
    assert worker_pid(client) != first
    client.shutdown()


def kill_while_idle(client):
    """Kill a worker that was started, but has not been asked for anything."""
    client.prepare()
    while not (client.process.alive and worker_pid(client)):
        time.sleep(0.01)
    os.kill(worker_pid(client), signal.SIGKILL)
    while client.process.alive:
        time.sleep(0.01)


@pytest.mark.usefixtures("temporary_folder")
def test_a_run_is_cancelled_while_torch_is_imported(client, fine):
    client.shutdown()
    run = client.start([channel(SLOW)], fine)
    stage_reached(run, "starting")
    cancel(run)


@pytest.mark.usefixtures("temporary_folder")
def test_a_run_is_cancelled_before_the_worker_is_there(client, fine):
    client.shutdown()
    cancel(client.start([channel(SLOW)], fine))


@pytest.mark.usefixtures("temporary_folder")
def test_the_errors_of_the_engine_arrive(client):
    with pytest.raises(errors.UnknownModelError, match="no such model") as caught:
        client.start([channel()], Order("no such model")).wait()
    assert "Traceback" in caught.value.__notes__[0]


@posix
@pytest.mark.usefixtures("temporary_folder")
def test_a_hung_worker_is_found_by_its_silence(client, tiny, fine, monkeypatch):
    client.start([channel()], tiny).wait()  # it says nothing while it imports torch
    monkeypatch.setattr(client, "silence_s", 3)
    run = client.start([channel(SLOW)], fine)
    stage_reached(run, "network")
    pid = worker_pid(client)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(errors.EngineProcessError, match="not been heard of for 3 s"):
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
def test_a_run_does_not_reach_a_worker_that_ends_since_its_import_failed(tmp_path, tiny):
    program = "import json\n" + FAILING_IMPORT.format(
        mark=str(tmp_path / "failed once"), python=sys.executable
    )
    client = WorkerClient(python_that_runs(tmp_path, program))
    with pytest.raises(errors.MissingPackageError, match="no memory"):
        client.start([channel()], tiny).wait()
    assert client.start([channel()], tiny).wait().labelmap.any()
    client.shutdown()


def python_that_runs(tmp_path: Path, program: str) -> str:
    """A program in the place of Python, which ignores the requested module."""
    return str(write_python_program(tmp_path / "python", f"import os, signal, sys, time\n{program}\n"))


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
            f"99.*version {protocol.VERSION}",
        ),
        ("time.sleep(600)", "not been heard of for 1 s"),
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
def test_garbage_on_standard_output_is_kept_for_the_log_and_does_no_harm(tmp_path, tiny):
    client = WorkerClient(python_that_runs(tmp_path, CHATTY.format(python=sys.executable)))
    assert client.start([channel()], tiny).wait().labelmap.any()
    client.shutdown()


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
def test_a_worker_behind_a_launcher_is_ended_too(tmp_path):
    client = WorkerClient(python_that_runs(tmp_path, LAUNCHER.format(python=sys.executable)))
    client.prepare()
    while not worker_pid(client):
        time.sleep(0.01)
    pid = worker_pid(client)
    os.kill(pid, signal.SIGSTOP)
    client.shutdown()
    until_gone(pid)


def until_gone(pid):
    deadline = time.monotonic() + 100
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_a_python_that_cannot_be_started_is_explained(tmp_path):
    client = WorkerClient(str(tmp_path / "absent"))
    client.prepare()
    with pytest.raises(errors.EngineProcessError, match="could not be started"):
        client.start([channel()], Order("tiny")).wait()


def test_a_full_temporary_folder_is_explained(client, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(protocol, "writing_request", full)
    with pytest.raises(errors.OutputError, match="free space"):
        client.start([channel()], Order("tiny")).wait()


def test_a_fault_of_this_program_is_raised_where_it_is_waited_for(client, monkeypatch):
    monkeypatch.setattr(protocol, "writing_request", lambda *_arguments: 1 / 0)
    with pytest.raises(errors.EngineProcessError, match="ZeroDivisionError") as caught:
        client.start([channel()], Order("tiny")).wait()
    assert "Traceback" in caught.value.__notes__[0]


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
from python_programs import write_python_program
from worker_dialogue import channel
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
    variables = {**environment(Path(__file__).parents[1] / "fixtures"), "TMPDIR": str(tmp_path)}
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
