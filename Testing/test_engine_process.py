"""The engine's process: what it says, and what is said when it dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle
from mednext import errors, protocol
from mednext.geometry import Geometry, Roi
from mednext.labels import Label
from mednext.protocol import Channel, Options
from mednext.segmentation import Segmentation
from MedNeXtSegmentationLib.engine_process import EngineProcess, find_python
from slicer_nodes import head

GEOMETRY = Geometry((20, 36, 24), (1.0, 1.5, 2.0), (5.0, -6.0, 7.0))


def channel(voxels=None):
    return Channel("T1 é 后", head() if voxels is None else voxels, GEOMETRY)


def test_a_request_arrives_as_it_was_sent(tmp_path):
    options = Options("tiny", "cpu", (0, 2), False, Roi((0, 0, 0), (1.5, 2, 3)), True)
    protocol.write_request(tmp_path, [channel(head().astype(np.int16))], options)
    (arrived,), arrived_options = protocol.read_request(tmp_path)
    assert arrived_options == options
    assert (arrived.name, arrived.geometry) == ("T1 é 后", GEOMETRY)
    assert arrived.array.dtype == np.int16
    assert np.array_equal(arrived.array, head().astype(np.int16))


def test_the_voxels_are_mapped_not_copied(tmp_path):
    protocol.write_request(tmp_path, [channel()], Options("tiny"))
    (arrived,), _ = protocol.read_request(tmp_path)
    assert isinstance(arrived.array, np.memmap)


def test_a_result_arrives_as_it_was_sent(tmp_path):
    labels = (Label(2, "liver", (1, 2, 3)), Label(300, "spleen", (4, 5, 6), region=(2, 300)))
    labelmap = np.zeros(GEOMETRY.shape, np.uint16)
    labelmap[1, 2, 3] = 300
    uncertainty = np.full(GEOMETRY.shape, 0.25, np.float32)
    sent = Segmentation(labelmap, GEOMETRY, labels, {"model": "tiny"}, uncertainty)
    protocol.write_result(tmp_path, sent)
    arrived = protocol.read_result(tmp_path)
    assert np.array_equal(arrived.labelmap, labelmap)
    assert np.array_equal(arrived.uncertainty, uncertainty)
    assert (arrived.geometry, arrived.labels) == (GEOMETRY, labels)
    assert arrived.provenance == {"model": "tiny"}


def test_an_error_keeps_its_class_and_its_sentence():
    event = json.loads(json.dumps(protocol.error_event(errors.ChannelError("2 were given."))))
    arrived = protocol.error_from_event(event)
    assert type(arrived) is errors.ChannelError
    assert str(arrived) == "2 were given."


def test_standard_output_has_events_and_nothing_else(tmp_path):
    folder = tmp_path / "übung 1"
    folder.mkdir()
    bundle = tiny_bundle(tmp_path / "tiny")
    protocol.write_request(folder, [channel()], Options(str(bundle.path), "cpu"))
    with start_job(folder) as process:
        events = [json.loads(line) for line in process.stdout]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[-1] == {"event": "done"}


def start_job(folder):
    command = [sys.executable, "-m", "mednext.job", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


def test_the_run_ends_when_nobody_is_there_to_hear_the_answer(tmp_path):
    bundle = tiny_bundle(tmp_path / "tiny")
    large = Geometry((160, 160, 160), (1, 1, 1))
    voxels = head((160, 160, 160))
    protocol.write_request(tmp_path, [Channel("T1", voxels, large)], Options(str(bundle.path), "cpu"))
    with start_job(tmp_path) as process:
        assert json.loads(process.stdout.readline())["event"] == "progress"
        process.stdin.close()
        assert process.wait(timeout=5) == errors.Cancelled.exit_code


def python_that_runs(tmp_path: Path, program: str) -> str:
    """A program in the place of Python: it ignores what it is asked to run."""
    executable = tmp_path / "python"
    executable.write_text(f"#!{sys.executable}\nimport os, signal, sys\n{program}\n")
    executable.chmod(0o755)
    return str(executable)


@pytest.mark.skipif(sys.platform == "win32", reason="a script cannot stand in for python.exe")
@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("sys.exit('No module named torch')", "exit code 1.*No module named torch"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "exit code -9.*memory"),
        ("sys.exit(0)", "without an answer"),
        ("print('Welcome to the cluster')", "Welcome to the cluster"),
    ],
)
def test_a_process_that_dies_is_explained(tmp_path, program, message):
    process = EngineProcess(python_that_runs(tmp_path, program))
    with pytest.raises(errors.EngineProcessError, match=message):
        process.segment([channel()], Options("tiny"))


def test_a_python_that_cannot_be_started_is_explained(tmp_path):
    with pytest.raises(errors.EngineProcessError, match="could not be started"):
        EngineProcess(str(tmp_path / "absent")).segment([channel()], Options("tiny"))


def test_a_full_temporary_folder_is_explained(monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(protocol, "write_request", full)
    with pytest.raises(errors.OutputError, match="free space"):
        EngineProcess().segment([channel()], Options("tiny"))


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
