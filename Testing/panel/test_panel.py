"""The panel, driven by its buttons, with the real worker, small models and real MRML."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.panel.driving import (
    FELT_S,
    LARGE,
    MODULE,
    TRIES,
    choose,
    let_run,
    segmentations,
    selector,
    set_option,
    standstill,
    table,
)
from fixtures.scene.volume_nodes import add_volume, head


@pytest.fixture
def uninstalled(ready, models, tmp_path):
    """The small model goes away after it was chosen."""
    shutil.move(models / "tiny", tmp_path / "tiny")
    yield
    shutil.move(tmp_path / "tiny", models / "tiny")


def test_the_first_look_shows_the_default_model_and_asks_for_a_volume(widget):
    ui = widget.ui
    assert ui.taskBox.currentData == "hippocampus"
    for text in ("anterior hippocampus", "T1 (MR)", "CC BY-SA 4.0", "Dice 0.897", "MiB"):
        assert text in ui.cardLabel.text
    assert not ui.segmentButton.enabled
    assert ui.problemLabel.text == "Choose a volume for T1."
    assert not any(
        part.visible for part in (ui.progressWidget, ui.errorLabel, ui.statusLabel, ui.resultGroup)
    )


def test_a_volume_that_is_loaded_is_chosen_by_itself_so_that_one_click_segments(widget, scene):
    choose(widget, "tiny")
    volume = add_volume(scene, head(), name="scan")
    assert selector(widget, 0).currentNode() is volume
    assert widget.ui.segmentButton.enabled


def test_segment_adds_a_node_and_shows_its_volumes(ready, volume):
    ready.ui.segmentButton.click()
    assert ready.ui.segmentButton.text == "&Cancel"
    assert ready.ui.progressWidget.visible
    let_run(ready)
    (node,) = segmentations()
    ids = node.GetSegmentation().GetSegmentIDs()
    voxels = [slicer.util.arrayFromSegmentBinaryLabelmap(node, name, volume) for name in ids]
    expected = [f"{np.count_nonzero(found) / 1000:.2f}" if found.any() else "not found" for found in voxels]
    assert table(ready) == list(zip(["spleen", "liver"], expected, strict=True))
    assert any(found.any() for found in voxels)
    assert "T1 segmentation" in ready.ui.resultLabel.text
    assert ready.ui.segmentButton.text == "&Segment"
    assert not ready.ui.progressWidget.visible


def test_a_run_tells_its_stage_and_tiles_and_after_cancel_it_adds_nothing(ready, scene):
    choose(ready, "fine")
    selector(ready, 0).setCurrentNode(add_volume(scene, head(LARGE), name="large"))
    ready.ui.segmentButton.click()
    let_run(ready, until=lambda: "left" in ready.ui.stageLabel.text)
    assert "Segmenting, tile" in ready.ui.stageLabel.text
    assert ready.ui.progressBar.maximum > 1
    ready.ui.segmentButton.click()
    assert not ready.ui.segmentButton.enabled
    let_run(ready)
    assert ready.ui.statusLabel.text == "Cancelled. Nothing was added to the scene."
    assert ready.ui.segmentButton.enabled
    assert not segmentations()


def test_an_error_of_the_engine_is_a_sentence_in_the_panel(ready, scene):
    voxels = head(LARGE)
    voxels[0, 0, 1] = np.nan  # too few for the checks before the run
    slicer.util.updateVolumeFromArray(selector(ready, 0).currentNode(), voxels)
    ready.ui.segmentButton.click()
    let_run(ready)
    assert ready.ui.errorLabel.visible
    assert "T1 has 1 NaN or infinite voxels" in ready.ui.errorLabel.text
    assert not segmentations()
    slicer.util.updateVolumeFromArray(selector(ready, 0).currentNode(), head())
    ready.ui.segmentButton.click()
    let_run(ready)
    assert not ready.ui.errorLabel.visible
    assert len(segmentations()) == 1


def test_a_model_that_was_removed_meanwhile_is_a_sentence_in_the_panel(ready, uninstalled):
    ready.ui.segmentButton.click()
    assert "'tiny'" in ready.ui.errorLabel.text
    assert not ready.isBusy()


def test_a_task_without_weights_says_how_to_come_by_them(ready):
    choose(ready, "KiTS19")
    assert "No MedNeXt weights" in ready.ui.weightsLabel.text
    assert "weights are missing" in ready.ui.problemLabel.text
    assert "kidney" in ready.ui.cardLabel.text
    assert not ready.ui.segmentButton.enabled
    assert not ready.ui.inputsGroup.visible


def test_an_image_larger_than_those_of_the_training_is_warned_of(ready, scene):
    choose(ready, "crops")
    assert not ready.ui.warningLabel.visible
    large = add_volume(scene, head(LARGE), name="whole head")
    selector(ready, 0).setCurrentNode(large)
    assert "at most 40 × 40 × 40 mm" in ready.ui.warningLabel.text
    assert ready.ui.segmentButton.enabled
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(48, 48, 48)
    roi.SetSize(30, 30, 30)
    ready.ui.roiSelector.setCurrentNode(roi)
    assert not ready.ui.warningLabel.visible
    roi.SetCenter(500, 0, 0)
    assert ready.ui.problemLabel.visible
    assert not ready.ui.segmentButton.enabled


def test_a_volume_without_voxels_cannot_be_segmented(ready, scene):
    selector(ready, 0).setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    assert '"empty" has no voxels' in ready.ui.problemLabel.text
    assert not ready.ui.segmentButton.enabled
    slicer.util.updateVolumeFromArray(selector(ready, 0).currentNode(), head())
    assert not ready.ui.problemLabel.visible
    assert ready.ui.segmentButton.enabled


def test_a_name_with_markup_is_shown_as_it_is(ready, scene):
    name = '<b>Kopf</b> "头" \N{BRAIN} a/b'
    selector(ready, 0).setCurrentNode(add_volume(scene, head(), name=name))
    ready.ui.segmentButton.click()
    let_run(ready)
    assert f'"{name} segmentation"' in ready.ui.resultLabel.text
    import qt

    assert ready.ui.resultLabel.textFormat == qt.Qt.PlainText


def test_a_chosen_model_that_is_no_longer_installed_is_named(ready, uninstalled):
    slicer.util.selectModule("SegmentEditor")
    slicer.util.selectModule("MedNeXtSegmentation")
    assert 'The model "tiny" is not installed here' in ready.ui.problemLabel.text
    assert ready.ui.taskBox.currentIndex == -1
    assert not ready.ui.segmentButton.enabled


def test_a_large_volume_never_blocks_the_event_loop(ready, scene):
    choose(ready, "coarse")
    voxels = np.tile(head((32, 32, 32)), (8, 12, 12)).astype(np.int16)
    selector(ready, 0).setCurrentNode(add_volume(scene, voxels, name="large"))

    def longest_standstill():
        return max(standstill(ready.ui.segmentButton.click), let_run(ready))

    assert any(longest_standstill() < FELT_S for _ in range(TRIES))
    assert ready.ui.volumesTable.visible


def test_each_channel_has_a_selector_that_finds_its_volume_by_name(widget, scene):
    flair = add_volume(scene, head(), name="case 1 T2-FLAIR")
    t1 = add_volume(scene, head(), name="case_1_t1w")
    choose(widget, "two")
    assert [selector(widget, index).currentNode() for index in range(2)] == [t1, flair]
    assert widget.ui.segmentButton.enabled
    selector(widget, 1).setCurrentNode(None)
    assert widget.ui.problemLabel.text == "Choose a volume for FLAIR."
    selector(widget, 1).setCurrentNode(t1)
    assert "The same volume" in widget.ui.problemLabel.text


def test_nothing_found_is_said_plainly(ready, volume, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    node.SetAttribute("MedNeXtSegmentation.volumes_ml", '{"spleen": 0.0}')
    ready.panel.showResult(node)
    assert ready.ui.resultLabel.text == 'No structure was found: "nothing" is empty.'
    assert not ready.ui.volumesTable.visible


def test_edit_opens_the_segment_editor_with_result_and_volume(ready, volume):
    ready.ui.segmentButton.click()
    let_run(ready)
    ready.ui.editButton.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    editor = slicer.modules.SegmentEditorWidget.editor
    assert editor.segmentationNode() is segmentations()[0]
    assert editor.sourceVolumeNode() is volume


def test_show_3d_makes_surfaces(ready):
    ready.ui.segmentButton.click()
    let_run(ready)
    ready.ui.show3DButton.click()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert segmentations()[0].GetSegmentation().ContainsRepresentation(surface)


def test_a_removed_result_is_shown_no_longer(ready, scene):
    ready.ui.segmentButton.click()
    let_run(ready)
    assert ready.ui.resultGroup.visible
    scene.RemoveNode(segmentations()[0])
    assert not ready.ui.resultGroup.visible


def test_closing_the_scene_during_a_run_leaves_a_panel_that_works(ready, scene):
    choose(ready, "fine")
    selector(ready, 0).setCurrentNode(add_volume(scene, head(LARGE), name="large"))
    ready.ui.segmentButton.click()
    let_run(ready, until=lambda: "tile" in ready.ui.stageLabel.text)
    scene.Clear(0)
    assert not ready.isBusy()
    assert ready.ui.segmentButton.text == "&Segment"
    assert not ready.ui.segmentButton.enabled
    add_volume(scene, head())
    choose(ready, "tiny")
    ready.ui.segmentButton.click()
    let_run(ready)
    assert len(segmentations()) == 1
    assert not ready.ui.errorLabel.visible


def test_closing_the_scene_leaves_no_volume_to_choose(show_panel, scene):
    add_volume(scene, head())
    widget = show_panel(MODULE)[1]
    scene.Clear(0)
    assert selector(widget, 0).currentNode() is None
    assert not widget.ui.segmentButton.enabled


def test_a_saved_scene_restores_the_choices_and_the_result(ready, scene, tmp_path):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(10, 18, 12)
    roi.SetSize(18, 30, 20)
    ready.ui.roiSelector.setCurrentNode(roi)
    chosen = add_volume(scene, head(), name="another")
    selector(ready, 0).setCurrentNode(chosen)
    ready.ui.segmentButton.click()
    let_run(ready)
    volumes = table(ready)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    choose(ready, "two")
    set_option(ready.ui.deviceBox, "auto")
    ready.ui.mirroringBox.checked = True
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), properties={"clear": True})
    assert ready.ui.taskBox.currentData == "tiny"
    assert selector(ready, 0).currentNode().GetName() == "another"
    assert ready.ui.roiSelector.currentNode().GetName() == "box"
    assert (ready.ui.deviceBox.currentText, ready.ui.mirroringBox.checked) == ("cpu", False)
    assert table(ready) == volumes


def test_leaving_the_panel_does_not_stop_the_run(ready):
    ready.ui.segmentButton.click()
    slicer.util.selectModule("SegmentEditor")
    let_run(ready)
    slicer.util.selectModule("MedNeXtSegmentation")
    assert ready.ui.resultGroup.visible
    assert len(segmentations()) == 1


def test_the_panel_fits_a_narrow_and_a_wide_dock(ready, scene, tmp_path):
    long_name = "301 MPRAGE sagittal isotropic reconstructed after contrast agent " * 2
    scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", long_name)
    selector(ready, 0).setCurrentNode(add_volume(scene, head(), name=long_name))
    ready.ui.segmentButton.click()
    let_run(ready)
    assert ready.ui.resultGroup.visible
    for width_px in (380, 700):
        assert slicer_standin.save_picture(ready.parent, tmp_path / "panel.png", width_px)[0] == width_px
