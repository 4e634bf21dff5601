"""The section "Output" of the panel: into which segmentation, which structures, with its uncertainty."""

from __future__ import annotations

import html

import numpy as np
import pytest
import slicer
from fixtures.documented import DOCS, examples
from fixtures.panel.driving import choose, let_run, segment, segmentations, selector
from fixtures.scene.volume_nodes import add_volume, add_warp, head
from mednext.errors import OptionError


def check(widget, row, on):
    import qt

    item = widget.ui.structuresList.item(row)
    item.setCheckState(qt.Qt.Checked if on else qt.Qt.Unchecked)


def names(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(each).GetName() for each in segmentation.GetSegmentIDs()]


def test_by_default_every_run_makes_a_new_segmentation_of_all_structures(ready):
    assert ready.ui.structuresButton.text == "All 2"
    first, second = segment(ready), segment(ready)
    assert first is not second
    assert names(first) == names(second) == ["spleen", "liver"]
    assert slicer.mrmlScene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems() == 1


def test_structures_without_a_check_mark_are_not_made(ready):
    ready.ui.structuresButton.click()
    assert ready.ui.structuresList.visible
    check(ready, 0, False)
    assert ready.ui.structuresButton.text == "1 of 2"
    node = segment(ready)
    assert names(node) == ["liver"]
    assert node.GetAttribute("MedNeXtSegmentation.structures") == "liver"


def test_without_any_structure_there_is_nothing_to_segment(ready):
    ready.ui.structuresButton.click()
    ready.ui.noStructuresButton.click()
    assert ready.ui.problemLabel.text == "Choose at least one structure."
    assert not ready.ui.segmentButton.enabled
    ready.ui.allStructuresButton.click()
    assert ready.ui.segmentButton.enabled


def test_another_model_begins_with_all_of_its_structures(ready):
    check(ready, 0, False)
    choose(ready, "coarse")
    assert ready.ui.structuresButton.text == "All 2"


def test_a_chosen_segmentation_gets_the_result_and_the_panel_names_replaced_segments(ready):
    node = segment(ready)
    ready.ui.segmentationSelector.setCurrentNode(node)
    assert ready.ui.replacedLabel.text == "Replaces all of its segments: spleen, liver."
    node.GetSegmentation().AddEmptySegment("", "my own")
    check(ready, 0, False)
    assert ready.ui.replacedLabel.text == "Replaces 1 of its 3 segments: liver. The others stay."
    assert segment(ready) is node
    assert segmentations() == [node]


def test_a_segmentation_of_the_user_is_only_added_to(ready, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.GetSegmentation().AddEmptySegment("", "liver")
    ready.ui.segmentationSelector.setCurrentNode(node)
    assert ready.ui.replacedLabel.text == "Nothing in it is replaced; the structures are added."
    segment(ready)
    assert names(node) == ["liver", "spleen", "liver"]


def test_a_segmentation_that_cannot_take_the_result_is_said_before_the_run(ready, scene):
    node = segment(ready)
    ready.ui.segmentationSelector.setCurrentNode(node)
    node.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    ready.ui.uncertaintyBox.click()
    assert "non-linear transform" in ready.ui.problemLabel.text
    assert not ready.ui.segmentButton.enabled


def test_a_segmentation_of_another_image_is_warned_of(ready, scene):
    ready.ui.segmentationSelector.setCurrentNode(segment(ready))
    assert not ready.ui.warningLabel.visible
    selector(ready, 0).setCurrentNode(add_volume(scene, head(seed=3), name="other"))
    told = '"T1 segmentation" was made from "T1", and gets the result of "other".'
    assert told in html.unescape(ready.ui.warningLabel.text)
    assert ready.ui.segmentButton.enabled


def test_a_removed_segmentation_is_no_longer_chosen(ready, scene):
    node = segment(ready)
    ready.ui.segmentationSelector.setCurrentNode(node)
    scene.RemoveNode(node)
    assert ready.panel.parameters.segmentation is None
    assert not ready.ui.replacedLabel.visible
    assert ready.ui.segmentButton.enabled


def test_a_saved_scene_restores_the_choices_for_the_output(ready, scene, tmp_path):
    node = segment(ready)
    ready.ui.segmentationSelector.setCurrentNode(node)
    ready.ui.uncertaintyBox.checked = True
    check(ready, 1, False)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), properties={"clear": True})
    assert ready.ui.segmentationSelector.currentNode().GetName() == node.GetName()
    assert ready.ui.uncertaintyBox.checked
    assert ready.ui.structuresButton.text == "1 of 2"


@pytest.mark.parametrize("options", [{"labels": ["liver"]}, {"labels": [2]}])
def test_the_console_chooses_structures_by_name_or_value(ready, volume, options):
    node = ready.logic.segment(volume, "tiny", device="cpu", mirroring=False, **options)
    assert names(node) == ["liver"]


def test_the_console_goes_into_a_segmentation_and_undoes_it(ready, volume, scene):
    logic = ready.logic
    node = logic.segment(volume, "tiny", device="cpu", mirroring=False)
    liver = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
    corrected = np.zeros((24, 36, 20), dtype=np.uint8)
    corrected[4:9, 5:20, 3:7] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(corrected, node, liver, volume)
    other = add_volume(scene, head(seed=3), name="other")
    options = {"device": "cpu", "mirroring": False, "segmentationNode": node}
    logic.segment(other, "tiny", **options)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, liver, volume), corrected)
    logic.segment(other, "tiny", replaceCorrected=True, **options)
    assert not np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, liver, volume), corrected)
    logic.undo(node)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, liver, volume), corrected)
    logic.redo(node)
    assert not np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, liver, volume), corrected)
    with pytest.raises(OptionError, match="nothing to redo"):
        logic.redo(node)


@pytest.mark.parametrize("replaced", [True, False])
def test_the_panel_asks_before_it_replaces_corrected_segments(ready, volume, monkeypatch, replaced):
    asked = []
    monkeypatch.setattr(
        slicer.util, "confirmYesNoDisplay", lambda question, **_: asked.append(question) or replaced
    )
    node = segment(ready)
    ready.ui.segmentationSelector.setCurrentNode(node)
    segment(ready)
    assert not asked
    liver = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
    corrected = np.zeros((24, 36, 20), dtype=np.uint8)
    corrected[4:9, 5:20, 3:7] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(corrected, node, liver, volume)
    segment(ready)
    assert len(asked) == 1 and "were corrected, or may have been corrected: liver." in asked[0]
    now = slicer.util.arrayFromSegmentBinaryLabelmap(node, liver, volume)
    assert np.array_equal(now, corrected) is not replaced
    told = "These segments were corrected and stay as they are: liver."
    assert ready.ui.resultStatusLabel.text == ("" if replaced else told)


def test_output_is_locked_while_a_run_is_on_its_way(ready):
    ready.ui.segmentButton.click()
    assert not ready.ui.outputGroup.enabled
    ready.ui.segmentButton.click()
    let_run(ready)
    assert ready.ui.outputGroup.enabled


def test_the_example_of_the_page_about_correcting_runs(ready, volume):
    (example,) = examples(DOCS / "correcting.md")
    known = {"MedNeXtSegmentationLogic": type(ready.logic), "volumeNode": volume}
    exec(example, known)
    assert names(known["node"]) == ["anterior hippocampus", "posterior hippocampus"]
    assert slicer.mrmlScene.GetFirstNodeByName("T1 uncertainty")
