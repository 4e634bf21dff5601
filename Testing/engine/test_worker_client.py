"""Runs of the worker give results or explained errors, wait for each other, and can be cancelled."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from fixtures.worker.dialogue import channel, stages
from fixtures.worker.runs import SLOW, cancel, stage_reached, worker_pid
from mednext import errors
from mednext.worker import protocol
from mednext.worker.hand_over import Wishes
from mednext.worker.protocol import Order
from MedNeXtSegmentationLib.engine.run import Run


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
