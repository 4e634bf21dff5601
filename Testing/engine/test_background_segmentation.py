"""Segmenting while Slicer's event loop runs: the callbacks, and the changes of the scene."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import FELT_S, LARGE, TRIES, standstill
from fixtures.scene.volume_nodes import add_volume, head
from mednext.errors import Cancelled, GeometryError, InputError, UnknownModelError
from MedNeXtSegmentationLib.engine.run import WAITING, Run

MODULE = Path(__file__).parents[2] / "MedNeXtSegmentation" / "MedNeXtSegmentation.py"
PATIENCE_S = 200


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A model for which a large volume is a few tiles."""
    folder = tmp_path_factory.mktemp("models") / "coarse"
    return str(tiny_bundle(folder, spacing=(8.0, 8.0, 8.0)).path)


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    """A model for which `LARGE` is thousands of tiles."""
    folder = tmp_path_factory.mktemp("models") / "fine"
    return str(tiny_bundle(folder, spacing=(0.5, 0.5, 0.5)).path)


class Listener:
    """Callbacks that remember their arguments and their threads."""

    def __init__(self):
        self.progress, self.nodes, self.errors, self.threads = [], [], [], set()

    def hear(self, heard, what):
        self.threads.add(threading.current_thread())
        heard.append(what)

    @property
    def callbacks(self):
        return {
            "onProgress": lambda event: self.hear(self.progress, event),
            "onDone": lambda node: self.hear(self.nodes, node),
            "onError": lambda error: self.hear(self.errors, error),
        }


@pytest.fixture
def listener():
    return Listener()


def let_run(running, until=lambda: False):
    """Run the event loop; returns the longest `standstill` in s."""
    begin, longest = time.monotonic(), 0.0
    while running.running and not until():
        assert time.monotonic() - begin < PATIENCE_S
        longest = max(longest, standstill(slicer.app.processEvents))
        slicer_standin.rest(0.01)
    return longest


def test_the_node_is_added_at_the_end_and_callbacks_run_in_the_main_thread(scene, logic, tiny, listener):
    volume = add_volume(scene, head())
    running = logic.segmentAsync(volume, tiny, device="cpu", **listener.callbacks)
    let_run(running)
    (node,) = listener.nodes
    expected = logic.segment(volume, tiny, device="cpu")
    for number in range(2):
        found, wanted = (
            slicer.util.arrayFromSegmentBinaryLabelmap(n, n.GetSegmentation().GetNthSegmentID(number), volume)
            for n in (node, expected)
        )
        assert np.array_equal(found, wanted)
    assert listener.progress[-1]["stage"] == "postprocessing"
    assert not listener.errors
    assert listener.threads == {threading.main_thread()}


def test_a_large_volume_never_blocks_the_event_loop(scene, logic, coarse, listener):
    volume = add_volume(scene, np.tile(head((32, 32, 32)), (8, 12, 12)).astype(np.int16))

    def longest_standstill():
        running = []

        def begin():
            running.append(
                logic.segmentAsync(volume, coarse, device="cpu", mirroring=False, **listener.callbacks)
            )

        return max(standstill(begin), let_run(running[0]))

    assert any(longest_standstill() < FELT_S for _ in range(TRIES))
    assert not listener.errors
    segment_id = listener.nodes[0].GetSegmentation().GetNthSegmentID(0)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(listener.nodes[0], segment_id, volume).any()


def test_a_cancelled_run_adds_nothing(scene, logic, fine, listener):
    volume = add_volume(scene, head(LARGE))
    nodes = scene.GetNumberOfNodes()
    running = logic.segmentAsync(volume, fine, device="cpu", **listener.callbacks)
    let_run(running, until=lambda: any(event["stage"] == "network" for event in listener.progress))
    running.cancel()
    let_run(running)
    assert [type(error) for error in listener.errors] == [Cancelled]
    assert not listener.nodes
    assert scene.GetNumberOfNodes() == nodes


def test_an_error_of_the_engine_goes_to_its_callback(scene, logic, listener):
    let_run(logic.segmentAsync(add_volume(scene, head()), "no such model", **listener.callbacks))
    assert [type(error) for error in listener.errors] == [UnknownModelError]


def test_errors_of_the_nodes_are_raised_at_once(logic, tiny):
    with pytest.raises(InputError):
        logic.segmentAsync(None, tiny)


def crop_volume(volume):
    slicer.util.updateVolumeFromArray(volume, head((8, 8, 8)))


def move_volume(volume):
    volume.SetOrigin(1, 2, 3)


def close_scene(volume):
    volume.GetScene().Clear(0)


def write_into_volume(volume):
    slicer.util.arrayFromVolume(volume)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(volume)


def test_a_volume_whose_voxels_were_written_meanwhile_gets_no_segmentation(scene, logic, tiny, listener):
    volume = add_volume(scene, head())
    running = logic.segmentAsync(volume, tiny, device="cpu", **listener.callbacks)
    write_into_volume(volume)
    let_run(running)
    assert [type(error) for error in listener.errors] == [InputError]
    assert not listener.nodes


@pytest.mark.parametrize("change", [crop_volume, move_volume, close_scene])
def test_a_volume_that_was_changed_meanwhile_gets_no_segmentation(scene, logic, tiny, listener, change):
    volume = add_volume(scene, head())
    running = logic.segmentAsync(volume, tiny, device="cpu", **listener.callbacks)
    change(volume)  # at once: a fast machine is through when the event loop looks for the first time
    nodes = scene.GetNumberOfNodes()
    let_run(running)
    assert [type(error) for error in listener.errors] == [GeometryError]
    assert scene.GetNumberOfNodes() == nodes


def test_a_run_that_is_not_followed_any_more_goes_on_and_calls_nobody(scene):
    heard = []

    def steps(run):
        run.report({"done": 1})
        yield WAITING
        return "the result"

    run = Run(steps).follow(heard.append, heard.append, heard.append)
    run.unfollow()
    begin = time.monotonic()
    while not run.finished and time.monotonic() - begin < PATIENCE_S:
        slicer.app.processEvents()
    slicer.app.processEvents()
    assert run.result() == "the result"
    assert heard == []
