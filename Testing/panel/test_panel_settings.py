"""The panel starts with the user's last choices; a saved scene keeps its own choices. Folds of a model."""

from __future__ import annotations

import pytest
import slicer
import slicer_standin
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import MODULE, choose, let_run, segment, segmentations, selector, set_option
from fixtures.scene.volume_nodes import add_volume, head
from mednext.inference.options import QUALITIES


def reopen(show_panel):
    """Close the panel and the scene, as Slicer does when it ends, and begin a new session."""
    slicer_standin.close_module(MODULE.stem)
    slicer.mrmlScene.Clear(0)
    return show_panel(MODULE)[1]


def test_the_next_session_begins_with_the_task_and_device_of_the_last_run(ready, show_panel):
    segment(ready)
    choose(ready, "two")  # looked at, but not used
    again = reopen(show_panel)
    assert again.ui.taskBox.currentData == "tiny"
    assert (again.ui.deviceBox.currentText, again.ui.mirroringBox.checked) == ("cpu", False)


def test_a_task_that_is_gone_gives_way_to_the_first_one(widget, show_panel):
    from MedNeXtSegmentationLib import settings

    settings.TASK.set("of a disk that is not there")
    assert reopen(show_panel).ui.taskBox.currentData == "hippocampus"


@pytest.fixture
def folds(ready, models):
    """A model of two folds beside the others."""
    tiny_bundle(models / "folds", folds=(0, 1), title="Two folds")
    ready.panel.showModels("")
    return ready


def test_folds_are_a_choice_only_where_a_model_has_several(folds):
    choose(folds, "tiny")
    assert not folds.ui.foldsBox.visible
    folds.ui.advancedButton.collapsed = False
    choose(folds, "folds")
    assert folds.ui.foldsBox.visible
    rows = [folds.ui.foldsBox.itemText(row) for row in range(folds.ui.foldsBox.count)]
    assert rows == ["All 2 folds (best)", "Fold 0 only (fastest)", "Fold 1 only (fastest)"]


def test_a_single_fold_is_used_alone_and_remembered(folds, show_panel):
    choose(folds, "folds")
    segment(folds)
    assert segmentations()[-1].GetAttribute("MedNeXtSegmentation.folds") == "0 1"
    set_option(folds.ui.foldsBox, "Fold 1 only (fastest)")
    segment(folds)
    assert segmentations()[-1].GetAttribute("MedNeXtSegmentation.folds") == "1"
    assert reopen(show_panel).ui.foldsBox.currentText == "Fold 1 only (fastest)"


def test_a_step_down_is_told_while_it_runs_and_afterwards(ready, scene, monkeypatch):
    from MedNeXtSegmentationLib.engine.run import Run

    report = Run.report

    def report_with_remark(run, event):
        report(run, event | {"remark": "Memory was full."} if event["done"] else event)

    monkeypatch.setattr(Run, "report", report_with_remark)
    choose(ready, "fine")
    selector(ready, 0).setCurrentNode(add_volume(scene, head((64, 64, 64)), name="not done at once"))
    ready.ui.segmentButton.click()
    let_run(ready, until=lambda: ready.ui.statusLabel.visible)
    assert ready.ui.progressWidget.visible
    let_run(ready)
    assert ready.ui.statusLabel.text == "Memory was full."
    ready.ui.segmentButton.click()
    assert not ready.ui.statusLabel.visible
    ready.ui.segmentButton.click()
    let_run(ready)


def quality(panel):
    """The shown quality, and the rows of the choice."""
    box = panel.ui.qualityBox
    return box.currentText, [box.itemText(row) for row in range(box.count)]


def singles(panel):
    """The shown single options."""
    ui = panel.ui
    texts = [box.currentText for box in (ui.foldsBox, ui.overlapBox, ui.precisionBox)]
    return [*texts, ui.mirroringBox.checked]


def test_a_quality_sets_the_single_options(folds):
    choose(folds, "folds")
    set_option(folds.ui.qualityBox, "Fast")
    assert singles(folds) == ["Fold 0 only (fastest)", "25%", "bfloat16", False]
    segment(folds)
    node = segmentations()[-1]
    told = [node.GetAttribute(f"MedNeXtSegmentation.{name}") for name in ("quality", "folds", "precision")]
    assert told == ["fast", "0", "bfloat16"]
    set_option(folds.ui.qualityBox, "Best")
    assert singles(folds) == ["All 2 folds (best)", "75%", "float32", True]
    set_option(folds.ui.qualityBox, "Standard")
    assert singles(folds) == ["All 2 folds (best)", "50% (the model's)", "float32", True]


def test_a_changed_single_option_is_a_custom_quality(folds):
    choose(folds, "folds")
    set_option(folds.ui.qualityBox, "Standard")
    assert quality(folds) == ("Standard", ["Fast", "Standard", "Best"])
    set_option(folds.ui.overlapBox, "75%")
    assert quality(folds)[0] == "Best"
    set_option(folds.ui.foldsBox, "Fold 1 only (fastest)")
    assert quality(folds) == ("Custom", ["Fast", "Standard", "Best", "Custom"])
    set_option(folds.ui.qualityBox, "Fast")
    assert quality(folds) == ("Fast", ["Fast", "Standard", "Best"])


def test_the_quality_is_told_with_its_accuracy_and_its_time(ready):
    set_option(ready.ui.qualityBox, "Fast")
    fast = QUALITIES["fast"]
    text = ready.ui.qualityLabel.text
    assert f"{fast.dice:.3f}" in text and f"{fast.time:.0%} of" in text
    set_option(ready.ui.qualityBox, "Best")
    assert "large images up to 8 times" in ready.ui.qualityLabel.text
    ready.ui.mirroringBox.checked = False
    assert ready.ui.qualityLabel.text == "Options of your own, see Advanced."


def test_the_quality_stays_when_another_model_is_chosen(folds):
    choose(folds, "tiny")
    set_option(folds.ui.qualityBox, "Fast")
    choose(folds, "folds")
    assert quality(folds)[0] == "Fast"
    assert folds.ui.foldsBox.currentText == "Fold 0 only (fastest)"


def test_the_next_session_begins_with_the_quality_of_the_last_run(ready, show_panel):
    set_option(ready.ui.qualityBox, "Fast")
    segment(ready)
    assert quality(reopen(show_panel))[0] == "Fast"


def test_a_scene_of_an_earlier_version_keeps_its_single_options(ready):
    """It has mirroring and folds, but neither step nor precision."""
    node = ready.panel.parameters.parameterNode
    for name in ("step", "precision"):
        node.UnsetParameter(name)
    ready.panel.bindAgain()
    assert quality(ready)[0] == "Custom"
    assert singles(ready)[1:] == ["50% (the model's)", "float32", False]
