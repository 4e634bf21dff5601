"""The scene changes at each stage of a run: an explained outcome, no lost correction, no stale result."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.faults.fault_table import Tally, injections
from fixtures.panel.driving import LARGE, MODULE, choose, selector, set_option
from fixtures.panel.driving import segment as press_segment
from fixtures.scene.segmentation_nodes import blocks, by_name, draw, new_segmentation, paint, segment_into
from fixtures.scene.volume_nodes import add_linear_transform, add_volume, add_warp, head, translation
from mednext.errors import Cancelled, EngineProcessError
from MedNeXtSegmentationLib.engine import run as runs
from MedNeXtSegmentationLib.engine.worker_client import protocol, shared_client
from MedNeXtSegmentationLib.scene.results.result_place import ResultPlace

SHAPE = (24, 36, 20)
STAGES = ("queued", "handing over", "running", "reading back", "finished, not told yet")
LAST = STAGES[-1]
SECOND = "another run into the same segmentation"
OPTIONS = {"device": "cpu", "mirroring": False, "uncertainty": True}
ENOUGH_EVENTS = 20_000

pytestmark = pytest.mark.timeout(1200)


class Case:
    """A volume, a segmentation with segments of the model and one of the user, and a run into it.

    Attributes:
        stage: the stage at which the change comes.
        into: the segmentation that the run extends; None for a new one.
        settled: the voxels that the run must not change any more, by segment.
    """

    def __init__(self, scene: Any, stage: str, extends: bool, saved: Path, model: str) -> None:
        self.scene, self.stage, self.saved, self.model = scene, stage, saved, model
        scene.Clear(0)
        self.volume = add_volume(scene, head(SHAPE))
        self.node = new_segmentation(self.volume, blocks(0, shape=SHAPE))
        segment_into(self.node, self.volume, blocks(1, shape=SHAPE))  # so that there is something to undo
        draw(self.node, "tumour", blocks(7, (1,), SHAPE) > 0, self.volume)
        self.into = self.node if extends else None
        self.settled = ["tumour"]
        self.errors: list[Exception] = []  # of other runs

    def liver(self) -> str:
        return by_name(self.node, "liver")


def close_scene(case: Case) -> None:
    case.scene.Clear(0)


def load_scene(case: Case) -> None:
    slicer.util.loadScene(str(case.saved), properties={"clear": True})


def add_scene(case: Case) -> None:
    slicer.util.loadScene(str(case.saved), properties={"clear": False})


def save_scene(case: Case) -> None:
    slicer.util.saveScene(str(case.saved.with_name("during.mrb")))


def delete_input(case: Case) -> None:
    case.scene.RemoveNode(case.volume)


def delete_output(case: Case) -> None:
    case.scene.RemoveNode(case.node)


def write_voxels(case: Case) -> None:
    slicer.util.arrayFromVolume(case.volume)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(case.volume)


def crop(case: Case) -> None:
    slicer.util.updateVolumeFromArray(case.volume, head((8, 8, 8)))


def move_origin(case: Case) -> None:
    case.volume.SetOrigin(1, 2, 3)


def bend(case: Case) -> None:
    case.volume.SetAndObserveTransformNodeID(add_warp(case.scene).GetID())


def transform(case: Case) -> None:
    moved = add_linear_transform(case.scene, translation(5, 0, 0))
    case.volume.SetAndObserveTransformNodeID(moved.GetID())


def correct(case: Case) -> None:
    paint(case.node, case.liver(), blocks(9, (1,), SHAPE), case.volume)
    case.settled.append("liver")


def erase(case: Case) -> None:
    paint(case.node, case.liver(), np.zeros(SHAPE), case.volume)
    case.settled.append("liver")


def press_undo(case: Case) -> None:
    logic().undo(case.node)
    case.settled += ["liver", "spleen"]


def press_undo_and_redo(case: Case) -> None:
    logic().undo(case.node)
    logic().redo(case.node)


def reload_module(_case: Case) -> None:
    slicer_standin.close_module(MODULE.stem)
    slicer_standin.load_module(MODULE)
    slicer_standin.show_module(MODULE.stem)


def quit_application(_case: Case) -> None:
    shared_client().shutdown()  # as at the exit of Slicer's Python


def kill_worker(_case: Case) -> None:
    os.kill(shared_client().process.pid, signal.SIGKILL)


def segment_again(case: Case) -> None:
    """As a second panel or a script does."""
    hear = {"onError": case.errors.append}
    logic().segmentAsync(case.volume, case.model, segmentationNode=case.node, **hear, **OPTIONS)


CHANGES: dict[str, Callable[[Case], None]] = {
    "scene closed": close_scene,
    "another scene loaded": load_scene,
    "another scene added": add_scene,
    "scene saved": save_scene,
    "input deleted": delete_input,
    "segmentation deleted": delete_output,
    "voxels of the input written": write_voxels,
    "input cropped": crop,
    "input moved": move_origin,
    "input put under a bending transform": bend,
    "input put under a linear transform": transform,
    "segment corrected": correct,
    "segment erased": erase,
    "undo pressed": press_undo,
    "undo and redo pressed": press_undo_and_redo,
    "module reloaded": reload_module,
    "application quit": quit_application,
    "worker killed": kill_worker,
    SECOND: segment_again,
}
ONLY_EXTENDING = {"segment corrected", "segment erased", "segmentation deleted"}
NEVER = {  # after these no result may enter the scene
    "scene closed",
    "another scene loaded",
    "input deleted",
    "voxels of the input written",
    "input cropped",
    "input moved",
    "input put under a bending transform",
    "application quit",
}


def logic() -> Any:
    return sys.modules[MODULE.stem].MedNeXtSegmentationLogic()


def digest(scene: Any) -> dict[str, Any]:
    """All nodes of a scene, with their attributes and voxels."""
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return {node.GetID(): _told(node) for node in nodes if not node.IsA("vtkMRMLScriptedModuleNode")}


def _told(node: Any) -> Any:
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    if node.IsA("vtkMRMLSegmentationNode"):
        return node.GetName(), attributes, voxels_of(node)
    if node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData():
        return node.GetName(), attributes, zlib.crc32(slicer.util.arrayFromVolume(node).tobytes())
    return node.GetName(), attributes


def voxels_of(node: Any) -> dict[str, int]:
    """A checksum of the voxels of each segment, by its name."""
    segmentation, found = node.GetSegmentation(), {}
    for segment_id in segmentation.GetSegmentIDs():
        array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
        value = segmentation.GetSegment(segment_id).GetLabelValue()
        image = segmentation.GetSegment(segment_id).GetRepresentation("Binary labelmap")
        places = (
            np.argwhere(array == value) + np.array(image.GetExtent()[::2])[::-1] if array is not None else ()
        )
        found[segmentation.GetSegment(segment_id).GetName()] = zlib.crc32(
            np.ascontiguousarray(places).tobytes()
        )
    return found


class Probe:
    """Notices the stages of a run without disturbing it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = ""
        monkeypatch.setattr(runs, "STEP_S", 1e-5)  # a step each time, so that a change fits between two
        writing, copying, report = protocol.writing_request, ResultPlace.copying, runs.Run.report

        def watched_writing(*arguments: Any) -> Any:
            for number, _ in enumerate(writing(*arguments)):
                self.reached = "handing over" if number == 2 else self.reached
                yield

        def watched_copying(place: Any, result: Any) -> Any:
            steps = copying(place, result)
            for number in itertools.count():
                try:
                    next(steps)
                except StopIteration as end:
                    return end.value
                self.reached = "reading back" if number == 2 else self.reached
                yield

        def watched_report(run: Any, event: dict[str, Any]) -> None:
            self.reached = "running" if event.get("stage") == "network" else self.reached
            report(run, event)

        monkeypatch.setattr(protocol, "writing_request", watched_writing)
        monkeypatch.setattr(ResultPlace, "copying", watched_copying)
        monkeypatch.setattr(runs.Run, "report", watched_report)

    def wait_for(self, stage: str, run: Any) -> None:
        """Advance a run up to a stage."""
        if stage == "queued":
            return
        self.reached = ""
        for _ in range(ENOUGH_EVENTS):
            if run.finished if stage == LAST else self.reached == stage:
                return
            assert not run.finished, run.result()
            if not run.advance():
                slicer_standin.rest(0.005)
        raise AssertionError(f"the run never came to {stage}")


def finish() -> None:
    """Let Slicer's event loop end everything that runs."""
    client = shared_client()
    for _ in range(ENOUGH_EVENTS):
        slicer.app.processEvents()
        if not client._line and not any(run.running for run in client._runs):
            return
        slicer_standin.rest(0.005)
    raise AssertionError("a run never ended")


@pytest.fixture
def probe(monkeypatch):
    return Probe(monkeypatch)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A scene in a file, with nodes of the same names and IDs as those of a case."""
    scene = slicer_standin.start().scene
    file = tmp_path_factory.mktemp("saved") / "scene.mrb"
    Case(scene, "", True, file, "")
    slicer.util.saveScene(str(file))
    scene.Clear(0)
    return file


@pytest.fixture(scope="module")
def model(models):
    return str(models / "tiny")


@pytest.fixture(scope="module")
def right(model, models):
    """The voxels of an undisturbed run, by segment."""
    scene = slicer_standin.start().scene
    slicer_standin.load_module(MODULE)
    node = logic().segment(add_volume(scene, head(SHAPE)), model, **OPTIONS)
    found = voxels_of(node)
    scene.Clear(0)
    return found


@pytest.fixture(scope="module")
def tallies():
    """The counts of each change, kept at the end."""
    found: dict[tuple[str, str], Tally] = {}
    yield lambda *names: found.setdefault(names, Tally(*names))
    for tally in found.values():
        tally.keep()


def cases(share: float = 1.0) -> list[Any]:
    """All changes at all stages, or some of them."""
    every = [
        (change, stage, extends)
        for change in CHANGES
        for stage in STAGES
        for extends in (True, False)
        if extends or change not in ONLY_EXTENDING
    ]
    number = injections(round(share * len(every)), 3)
    chosen = every[1 :: len(every) // number] if number < len(every) else every
    return [pytest.param(*each, id="-".join(map(str, each))) for each in chosen]


def check(case: Case, change: str, outcome: str, changed: dict[str, Any], right: dict[str, int]) -> None:
    """Compare the scene at the end with that after the change."""
    now = digest(case.scene)
    if change == SECOND:  # its result comes later, and may replace the model's segments, but no others
        before, after = changed[case.node.GetID()][2], voxels_of(case.node)
        assert after.keys() == before.keys() and after["tumour"] == before["tumour"]
        assert all(after[name] in (before[name], right[name]) for name in right)
        return
    if outcome != "right result" or case.stage == LAST:
        told = {key: (before, now.get(key)) for key, before in changed.items() if before != now.get(key)}
        assert not told
        assert now.keys() == changed.keys()
        return
    assert change not in NEVER, "a stale result entered the scene"
    if case.into is None:
        results = [node for key, node in _segmentations(case.scene).items() if key not in changed]
        assert results and all(voxels_of(node) == right for node in results)
        assert {key: now[key] for key in changed} == changed
        return
    before, after = changed[case.node.GetID()][2], voxels_of(case.node)
    assert {name: after[name] for name in case.settled} == {name: before[name] for name in case.settled}
    if case.settled == ["tumour"]:
        assert {name: after[name] for name in right} == right


def _queue(scene: Any, models: Path, case: Case) -> Any:
    """A long run that has the worker meanwhile."""
    large = add_volume(scene, head(LARGE), name="large")
    return logic().segmentAsync(large, str(models / "fine"), onError=case.errors.append, **OPTIONS)


def _segmentations(scene: Any) -> dict[str, Any]:
    nodes = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    return {
        node.GetID(): node for node in (nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems()))
    }


@pytest.mark.parametrize(("change", "stage", "extends"), cases())
def test_a_change_during_a_run_of_the_console(
    change, stage, extends, scene, models, model, saved, right, probe, tallies
):
    slicer_standin.load_module(MODULE)
    case = Case(scene, stage, extends, saved, model)
    nodes: list[Any] = []
    errors: list[Exception] = []
    before = _queue(scene, models, case) if stage == "queued" else None
    run = logic().segmentAsync(
        case.volume, model, segmentationNode=case.into, onDone=nodes.append, onError=errors.append, **OPTIONS
    )
    probe.wait_for(stage, run)
    CHANGES[change](case)
    changed = digest(scene)
    if before:
        before.cancel()
    finish()
    outcome = "right result"
    if errors:
        assert not isinstance(errors[0], EngineProcessError) or change == "worker killed", errors[0]
        outcome = "cancelled" if isinstance(errors[0], Cancelled) else "explained error"
    assert len(nodes) + len(errors) == 1
    check(case, change, outcome, changed, right)
    if outcome == "right result" and stage == LAST:
        outcome = "result before the change"
    tallies("a run of the console", change).add(outcome)
    again = logic().segment(add_volume(scene, head(SHAPE)), model, **OPTIONS)
    assert voxels_of(again) == right


ABANDONED = {"scene closed", "another scene loaded", "module reloaded"}  # the panel forgets the run


@pytest.mark.parametrize(("change", "stage", "extends"), cases(share=0.25))
def test_a_change_during_a_run_of_the_panel(
    change, stage, extends, scene, widget, models, saved, right, probe, tallies
):
    case = Case(scene, stage, extends, saved, str(models / "tiny"))
    choose(widget, "tiny")
    set_option(widget.ui.deviceBox, "cpu")
    widget.ui.mirroringBox.checked = False
    selector(widget, 0).setCurrentNode(case.volume)
    widget.panel.parameters.segmentation = case.into
    widget.panel.parameters.uncertainty = True
    before = _queue(scene, models, case) if stage == "queued" else None
    widget.ui.segmentButton.click()
    probe.wait_for(stage, widget.panel.runView._run)
    CHANGES[change](case)
    changed = digest(scene)
    if before:
        before.cancel()
    finish()
    widget = slicer.modules.MedNeXtSegmentationWidget
    told = widget.ui.errorLabel.text if widget.ui.errorLabel.visible else ""
    outcome = "explained error" if told else "right result"
    assert "fault of this program" not in told
    if "Cancelled" in widget.ui.statusLabel.text or (change in ABANDONED and stage != LAST):
        outcome = "cancelled"
    assert not widget.isBusy()
    check(case, change, outcome, changed, right)
    if outcome == "right result" and stage == LAST:
        outcome = "result before the change"
    tallies("a run of the panel", change).add(outcome)
    choose(widget, "tiny")
    selector(widget, 0).setCurrentNode(add_volume(scene, head(SHAPE), name="next"))
    widget.panel.parameters.segmentation = None
    assert voxels_of(press_segment(widget)) == right
