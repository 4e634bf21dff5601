"""The panel with a sequence of volumes: the frame that is shown, or all of them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fixtures.panel.driving import let_run, segment, segmentations, table
from fixtures.scene.sequence_nodes import add_sequence


@pytest.fixture
def sequence(scene, ready):
    """The panel with the small model and the frame of a sequence of three."""
    sequence, browser, proxy = add_sequence(scene)
    slicer.util.findChild(ready.parent, "channelSelector0").setCurrentNode(proxy)
    return sequence, browser


def test_the_choice_is_there_for_a_frame_of_a_sequence_only(ready, volume, scene):
    assert not ready.ui.allFramesBox.visible
    proxy = add_sequence(scene)[2]
    selector = slicer.util.findChild(ready.parent, "channelSelector0")
    selector.setCurrentNode(proxy)
    assert ready.ui.allFramesBox.visible
    assert ready.ui.allFramesBox.text == "All 3 frames of the se&quence"
    selector.setCurrentNode(volume)
    assert not ready.ui.allFramesBox.visible


def test_without_it_the_shown_frame_is_segmented(ready, sequence):
    _sequence, browser = sequence
    node = segment(ready)
    assert browser.GetSequenceNode(node) is None
    assert node.GetName() == f"{browser.GetProxyNode(sequence[0]).GetName()} segmentation"


def test_with_it_all_frames_are_segmented_and_the_volumes_follow_the_shown_one(ready, sequence):
    _sequence, browser = sequence
    ready.ui.allFramesBox.checked = True
    node = segment(ready)
    assert browser.GetSequenceNode(node).GetNumberOfDataNodes() == 3
    first = table(ready)
    browser.SetSelectedItemNumber(2)
    assert table(ready) != first
    browser.SetSelectedItemNumber(0)
    assert table(ready) == first


def test_insisting_on_the_shown_frame_is_not_insisting_on_all_frames(ready, sequence):
    frame = slicer.util.findChild(ready.parent, "channelSelector0").currentNode()
    slicer.util.arrayFromVolume(frame)[:8] = np.nan
    slicer.util.arrayFromVolumeModified(frame)
    slicer.app.processEvents()
    assert ready.ui.insistBox.visible
    ready.ui.insistBox.checked = True
    ready.ui.allFramesBox.checked = True
    assert ready.ui.insistBox.visible and not ready.ui.insistBox.checked


def test_the_frame_is_told_while_it_runs(ready, sequence):
    ready.ui.allFramesBox.checked = True
    ready.ui.segmentButton.click()
    let_run(ready, until=lambda: "Frame 2 of 3" in ready.ui.stageLabel.text)
    assert ready.isBusy()
    let_run(ready)


def test_cancelling_adds_nothing(ready, sequence):
    ready.ui.allFramesBox.checked = True
    ready.ui.segmentButton.click()
    let_run(ready, until=lambda: "Frame" in ready.ui.stageLabel.text)
    ready.ui.segmentButton.click()
    let_run(ready)
    assert ready.ui.statusLabel.text == "Cancelled. Nothing was added to the scene."
    assert segmentations() == []


def test_a_sequence_goes_into_no_segmentation_that_is_there(ready, sequence, scene):
    before = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    ready.ui.segmentationSelector.setCurrentNode(before)
    ready.ui.allFramesBox.checked = True
    assert not ready.ui.segmentationSelector.enabled
    assert ready.ui.replacedLabel.text.startswith("A new sequence of segmentations.")
    assert segment(ready) is not before
    ready.ui.allFramesBox.checked = False
    assert ready.ui.segmentationSelector.enabled


def test_the_choice_is_saved_with_the_scene(ready, sequence):
    ready.ui.allFramesBox.checked = True
    assert ready.panel.parameters.allFrames


def test_a_choice_that_all_frames_make_no_use_of_holds_nothing_up(ready, sequence):
    ready.ui.allFramesBox.checked = True
    frame = segment(ready)
    ready.ui.allFramesBox.checked = False
    ready.ui.segmentationSelector.setCurrentNode(frame)
    assert not ready.ui.segmentButton.enabled
    assert "shows one frame of a sequence" in ready.ui.segmentButton.toolTip
    ready.ui.allFramesBox.checked = True
    assert ready.ui.segmentButton.enabled
    segment(ready)


def test_the_uncertain_places_are_those_of_the_shown_frame(ready, sequence):
    from MedNeXtSegmentationLib.scene.result_record import uncertainty_of
    from MedNeXtSegmentationLib.scene.results.uncertainty_node import places_of

    _sequence, browser = sequence
    ready.ui.allFramesBox.checked = True
    ready.ui.uncertaintyBox.checked = True
    uncertainty = uncertainty_of(segment(ready))
    ready.ui.nextPlaceButton.click()
    ready.ui.nextPlaceButton.click()
    first = places_of(uncertainty)
    browser.SetSelectedItemNumber(1)
    assert places_of(uncertainty) not in (first, [])
    ready.ui.nextPlaceButton.click()
    assert ready.ui.resultStatusLabel.text.startswith("Uncertain place 1 of ")
    ready.ui.showUncertaintyButton.click()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {composite.GetForegroundVolumeID() for composite in composites} == {uncertainty.GetID()}
    ready.ui.showUncertaintyButton.click()


def test_the_memory_for_the_uncertainty_of_all_frames_is_planned(ready, sequence):
    ready.ui.allFramesBox.checked = True
    ready.ui.uncertaintyBox.checked = True
    assert ready.panel.framesChoice.count == 3
    ready.ui.allFramesBox.checked = False
    assert ready.panel.framesChoice.count == 1
