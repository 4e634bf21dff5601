"""The worker as a process, driven line by line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time

import pytest
from fixtures.models.bundles import tiny_order
from fixtures.worker.dialogue import PATIENCE_S, Dialogue, channel, environment, stages, write_request
from fixtures.worker.runs import SLOW
from mednext.inference import segment as pipeline
from mednext.worker import protocol
from mednext.worker.hand_over import HandedOver
from mednext.worker.protocol import CancelRequest, Order, SegmentRequest
from mednext.worker.run_folder import run_folder
from mednext.worker.serving import Worker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_order(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    return tiny_order(tmp_path_factory.mktemp("models") / "fine", spacing=(0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def warm():
    """A worker that has imported torch."""
    dialogue = Dialogue()
    dialogue.events_until("devices")
    yield dialogue
    dialogue.end()


@pytest.fixture
def fresh():
    """A worker that has just started, and is importing torch."""
    dialogue = Dialogue()
    yield dialogue
    dialogue.end()


def test_a_run_reports_every_stage_and_the_next_one_loads_nothing(warm, tiny, tmp_path):
    warm.segment(1, tmp_path / "übung 1", tiny)
    first = warm.events_until("done", "error")
    warm.segment(2, tmp_path / "2", tiny)
    second = warm.events_until("done", "error")
    assert stages(first) == ["reading", "loading", "preprocessing", "network", "postprocessing"]
    assert stages(second) == ["reading", "preprocessing", "network", "postprocessing"]
    assert {event["run"] for event in first} == {1}
    tiles = [event for event in first if event.get("stage") == "network"]
    assert [tile["done"] for tile in tiles] == list(range(tiles[0]["total"] + 1))
    assert tiles[-1]["remaining_s"] == 0
    assert HandedOver.read(tmp_path / "2").found.shape == (20, 36, 24)


def test_another_model_replaces_the_last_one(warm, tiny, tmp_path):
    other = tiny_order(tmp_path / "other", folds=(0, 1))
    loaded = []
    for run, options in enumerate([tiny, other, other, tiny], start=10):
        warm.segment(run, tmp_path / str(run), options)
        events = warm.events_until("done", "error")
        loaded.append(max((event["total"] for event in events if event.get("stage") == "loading"), default=0))
    # Fold 0 of both has the same weights: only fold 1 is new, and tiny is a part of the other.
    assert loaded[1:] == [1, 0, 0]


@pytest.mark.parametrize("line", ["", "nonsense", "{}", '{"request": "dance", "run": 1}', "\udcff"])
def test_a_malformed_request_is_answered_and_the_worker_continues(warm, line):
    warm.process.stdin.reconfigure(errors="surrogateescape")
    warm.say(line)
    answer = warm.events_until("error")[-1]
    assert (answer["run"], answer["error"]) == (None, "EngineProcessError")


def test_a_missing_folder_is_an_error_of_its_run(warm, tmp_path):
    warm.say(protocol.format_request(SegmentRequest(20, str(tmp_path / "absent"))))
    answer = warm.events_until("error")[-1]
    assert answer["run"] == 20
    assert "absent" in answer["message"]


def test_an_error_has_class_sentence_and_details(warm, tmp_path):
    warm.segment(21, tmp_path / "21", Order("no such model"))
    answer = warm.events_until("error")[-1]
    assert answer["error"] == "UnknownModelError"
    assert "no such model" in answer["message"]
    assert "Traceback" in answer["details"]


def test_a_run_is_cancelled_between_tiles_and_the_worker_stays_warm(warm, tiny, fine, tmp_path):
    warm.segment(30, tmp_path / "30", fine, SLOW)
    while json.loads(warm.hear()).get("stage") != "network":
        pass
    warm.say(protocol.format_request(CancelRequest(30)))
    events = warm.events_until("error", "done")
    assert events[-1]["error"] == "Cancelled"
    warm.segment(31, tmp_path / "31", tiny)
    assert "loading" not in stages(warm.events_until("done", "error"))


def test_a_cancel_of_a_run_that_is_over_is_ignored(warm, tiny, tmp_path):
    warm.segment(40, tmp_path / "40", tiny)
    warm.events_until("done")
    warm.say(protocol.format_request(CancelRequest(40)))
    warm.segment(41, tmp_path / "41", tiny)
    assert warm.events_until("done", "error")[-1] == {"event": "done", "run": 41}


def test_an_idle_worker_frees_the_networks_and_loads_them_again(warm, tiny, tmp_path):
    warm.segment(50, tmp_path / "50", tiny)
    warm.events_until("done")
    soon = SegmentRequest(51, str(tmp_path / "50"), release_after_s=0.1)
    warm.say(protocol.format_request(soon))
    warm.events_until("released")
    warm.segment(52, tmp_path / "52", tiny)
    assert "loading" in stages(warm.events_until("done"))


def test_a_request_waits_for_torch_and_can_be_cancelled_meanwhile(fresh, tiny, tmp_path):
    fresh.segment(1, tmp_path / "1", tiny)
    fresh.segment(2, tmp_path / "2", tiny)
    fresh.say(protocol.format_request(CancelRequest(1)))
    events = fresh.events_until("done")
    hello = events[0]
    assert (hello["protocol"], hello["pid"]) == (protocol.LANGUAGE, fresh.process.pid)
    kinds = [(event["event"], event.get("run")) for event in events]
    assert kinds[:2] == [("hello", None), ("progress", 1)]
    assert events[1]["stage"] == "starting"
    assert kinds.index(("error", 1)) < kinds.index(("ready", None)) < kinds.index(("done", 2))


CHATTY = """
import os, threading, time

said = threading.Event()

def chat():
    while True:
        print("progress: 50 %", end="", flush=True)
        os.write(1, b"a library in C")
        said.set()
        time.sleep(0.01)

threading.Thread(target=chat, daemon=True).start()
"""


def test_output_of_libraries_does_not_mix_with_the_events(tmp_path, tiny):
    (tmp_path / "torch.py").write_text(CHATTY + "said.wait()\nraise ImportError('no torch')")
    dialogue = Dialogue(folders=[tmp_path])
    assert [event["event"] for event in dialogue.events_until("error")] == ["hello", "error"]
    dialogue.exit_code()
    assert "a library in C" in "".join(dialogue.errors)


@pytest.mark.parametrize("error", ["OSError('[WinError 126] c10.dll')", "ValueError('c10.dll changed size')"])
def test_a_torch_that_cannot_be_imported_is_explained(tmp_path, error):
    (tmp_path / "torch.py").write_text(f"raise {error}")
    dialogue = Dialogue(folders=[tmp_path])
    error = dialogue.events_until("error")[-1]
    assert (error["run"], error["error"]) == (None, "MissingPackageError")
    assert "c10.dll" in error["message"]
    assert "PyTorch" in error["message"]
    assert dialogue.exit_code() != 0


def test_the_worker_ends_when_its_input_ends(fresh, fine, tmp_path):
    fresh.segment(1, tmp_path / "1", fine, SLOW)
    fresh.events_until("progress")
    fresh.process.stdin.close()
    assert fresh.exit_code() == 0


def test_the_worker_ends_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    dialogue = Dialogue(parent=parent.pid)
    assert json.loads(dialogue.hear())["event"] == "hello"
    parent.kill()
    parent.wait()
    assert dialogue.exit_code() == 0


def test_a_new_worker_removes_the_folders_of_crashed_clients(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with run_folder() as own:
        left = tmp_path / own.name.replace(f"_{os.getpid()}_", f"_{dead.pid}_")
        left.mkdir()
        dialogue = Dialogue()
        deadline = time.monotonic() + PATIENCE_S
        while left.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        dialogue.end()
        assert own.exists() and not left.exists()


def test_too_little_memory_is_an_explained_error(tmp_path, tiny, monkeypatch):
    def segment(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(pipeline, "segment", segment)
    write_request(tmp_path, [channel()], tiny)
    answer = Worker(io.StringIO()).answer(SegmentRequest(1, str(tmp_path)))
    assert answer["error"] == "OutOfMemoryError"
    assert "memory" in answer["message"]


def test_nothing_heavy_is_imported_before_hello():
    program = "import sys, mednext.worker.serving; print('torch' in sys.modules, 'SimpleITK' in sys.modules)"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
