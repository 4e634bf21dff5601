"""The panel of a small module on the stand-in: on Slicer's own Python files, or on stand-ins of these too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.scene.volume_nodes import add_volume
from slicer_contract.module_folder import check_module

HERE = Path(__file__).parents[1]
MODULE = HERE / "example_module" / "ExamplePanel.py"


@pytest.fixture
def panel(show_panel):
    return show_panel(MODULE)[0]


@pytest.fixture
def widget(panel):
    return panel.self()


@pytest.fixture
def volume(scene):
    return add_volume(scene, np.arange(100.0).reshape(4, 5, 5), name="ramp")


def test_the_panel_binds_its_widgets_to_the_parameter_node(widget, volume):
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.thresholdSlider.value = 70
    widget.ui.modeBox.currentIndex = 1
    widget.ui.noteEdit.text = "grün"
    widget.ui.reportPath.currentPath = "a folder/report.csv"
    node = widget.parameterNode
    assert node.volume is volume
    assert (node.threshold, node.mode.value, node.note) == (70, "below", "grün")
    assert node.report == Path("a folder/report.csv")


def test_a_value_set_in_python_is_shown(widget, volume):
    widget.parameterNode.volume = volume
    widget.parameterNode.threshold = 12.5
    widget.parameterNode.repeat = True
    widget.parameterNode.times = 4
    assert widget.ui.volumeSelector.currentNode() is volume
    assert widget.ui.thresholdSlider.value == 12.5
    assert widget.ui.repeatBox.checked
    assert (widget.ui.timesBox.value, widget.ui.timesBox.enabled) == (4, True)


def test_defaults_are_shown_when_the_panel_opens(widget):
    assert widget.ui.thresholdSlider.value == 50
    assert widget.ui.timesBox.value == 2
    assert widget.ui.noteEdit.text == "no note"
    assert widget.parameterNode.isCached("threshold")
    assert widget.parameterNode.default("note").value == "no note"


def test_pressing_the_button_counts(widget, volume):
    assert not widget.ui.countButton.enabled
    widget.ui.volumeSelector.setCurrentNode(volume)
    assert widget.ui.countButton.enabled
    widget.ui.countButton.click()
    assert widget.ui.resultLabel.text == "49 voxels"


def test_an_error_is_shown_to_the_user_and_raised_again(widget, volume, dialogs, slot_errors):
    slicer.util.updateVolumeFromArray(volume, np.zeros((2, 2, 2)))
    widget.ui.volumeSelector.setCurrentNode(volume)
    dialogs.answer(None)
    widget.ui.countButton.click()
    assert "ramp is empty" in dialogs.asked[0].text
    assert "Failed to count" in dialogs.asked[0].text
    assert isinstance(slot_errors.pop(), ValueError)


def test_a_parameter_that_breaks_its_limits_is_refused(widget):
    with pytest.raises(ValueError, match="within range"):
        widget.parameterNode.threshold = 101
    with pytest.raises(TypeError):
        widget.parameterNode.repeat = "yes"
    with pytest.raises(ValueError, match="nothing"):
        widget.parameterNode.setValue("nothing", 1)


def test_lists_and_optional_nodes_are_kept_in_the_node(widget, scene):
    node = widget.parameterNode
    node.seen.append("one")
    node.seen = [*node.seen, "two"]
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    assert node.region is None
    node.region = roi
    assert list(node.seen) == ["one", "two"]
    assert node.region is roi
    assert node.parameterNode.GetNodeReference("region.0") is roi


def test_closing_the_scene_leaves_a_panel_that_works(widget, volume, scene):
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.noteEdit.text = "before"
    scene.Clear(0)
    assert widget.ui.volumeSelector.currentNode() is None
    assert widget.ui.noteEdit.text == "no note"
    assert not widget.ui.countButton.enabled


def test_a_saved_scene_restores_the_choices(widget, volume, scene, tmp_path):
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.thresholdSlider.value = 33
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), properties={"clear": True})
    assert widget.ui.volumeSelector.currentNode().GetName() == "ramp"
    assert widget.parameterNode.threshold == 33


def test_leaving_the_panel_unbinds_it_and_entering_binds_it_again(widget):
    slicer.util.selectModule("SegmentEditor")
    assert widget.parameterNode is None
    slicer.util.selectModule("ExamplePanel")
    assert widget.parameterNode is not None
    assert slicer.util.selectedModule() == "ExamplePanel"


def test_a_closed_panel_is_made_anew(widget, show_panel):
    slicer_standin.close_module("ExamplePanel")
    again = show_panel(MODULE)[1]
    assert again is not widget
    assert again.parameterNode is not None


def test_a_picture_of_the_panel_is_drawn(panel, widget, volume, tmp_path):
    import qt

    widget.ui.volumeSelector.setCurrentNode(volume)
    pictures = {}
    for width_px in (380, 700):
        file = tmp_path / f"panel_{width_px}.png"
        assert slicer_standin.save_picture(panel, file, width_px)[0] == width_px
        pictures[width_px] = qt.QImage(str(file))
    colors = {
        pictures[700].pixel(x, y) for x in range(0, 700, 3) for y in range(0, pictures[700].height(), 3)
    }
    assert len(colors) > 20


def test_a_panel_that_cannot_be_so_narrow_says_so(panel, widget, tmp_path):
    widget.ui.countButton.minimumWidth = 600
    assert slicer_standin.save_picture(panel, tmp_path / "wide.png", 380)[0] > 600


def test_sample_data_is_registered_once_when_slicer_has_started(scene):
    from SampleData import SampleDataLogic

    def register():
        SampleDataLogic.registerCustomSampleDataSource(
            category="Example", sampleName="Ramp", uris=["https://example.org/a"], fileNames=["a.nrrd"]
        )

    slicer.app.connect("startupCompleted()", register)
    slicer.app.startupCompleted.emit()
    slicer.app.startupCompleted.emit()
    slicer.app.disconnect("startupCompleted()", register)
    assert [source.sampleName for source in slicer.modules.sampleDataSources["Example"]] == ["Ramp"]


def test_the_module_keeps_the_contract():
    assert check_module(MODULE.parent) == []


@pytest.mark.skipif(
    "SLICER_SOURCE" not in os.environ, reason="set SLICER_SOURCE to a checkout of Slicer to run both ways"
)
def test_the_panel_behaves_the_same_on_the_stand_ins_of_slicers_python_files():
    """The other tests of this file ran on Slicer's own files."""
    environment = {key: value for key, value in os.environ.items() if key != "SLICER_SOURCE"}
    command = [sys.executable, "-m", "pytest", "-q", __file__]
    result = subprocess.run(
        command, env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
