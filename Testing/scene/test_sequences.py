"""Sequences of volumes (4D): all frames become a sequence of segmentations in the same browser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from fixtures.scene.segmentation_nodes import labelmap_of
from fixtures.scene.sequence_nodes import TIMES, add_sequence
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    add_warp,
    head,
    translation,
)
from mednext.errors import Cancelled, GeometryError, InputError, OptionError, UnsupportedImageError
from mednext.model.description import Channel
from MedNeXtSegmentationLib.scene.matrices import ijk_to_ras_of
from MedNeXtSegmentationLib.scene.result_record import uncertainty_of
from MedNeXtSegmentationLib.scene.results.uncertainty_node import is_uncertainty, places_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return tiny_bundle(
        tmp_path_factory.mktemp("models") / "two",
        network=replace(TINY_NETWORK, in_channels=2),
        channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")),
    ).path


def expected(scene, logic, tiny, index):
    """The result of a frame as a single volume."""
    volume = add_volume(scene, head(seed=index), OBLIQUE_LEFT_HANDED)
    return labelmap_of(logic.segment(volume, tiny, device="cpu"), volume)


def nodes(scene):
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def test_every_frame_is_segmented_as_a_volume_of_its_own(scene, logic, tiny):
    sequence, browser, proxy = add_sequence(scene)
    result = logic.segment(sequence, tiny, device="cpu")
    shown = browser.GetProxyNode(result)
    seen = []
    for index in range(3):
        browser.SetSelectedItemNumber(index)
        seen.append(labelmap_of(shown, proxy))
        np.testing.assert_array_equal(seen[-1], expected(scene, logic, tiny, index))
    assert (seen[0] != seen[1]).any() and (seen[1] != seen[2]).any()


def test_the_result_goes_with_the_images_in_their_browser(scene, logic, tiny):
    _sequence, browser, proxy = add_sequence(scene)
    proxy.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(3, 0, 0)).GetID())
    result = logic.segment(browser, tiny)
    assert [result.GetNthIndexValue(n) for n in range(3)] == list(TIMES)
    assert (result.GetIndexName(), result.GetIndexUnit()) == ("time", "s")
    assert browser.IsSynchronizedSequenceNode(result)
    shown = browser.GetProxyNode(result)
    assert shown.GetParentTransformNode() is proxy.GetParentTransformNode()
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert shown.GetNodeReference(role) is proxy
    assert shown.GetName() == result.GetName() == "heart segmentation"
    assert shown.GetDisplayNode() is not None


def test_every_frame_knows_how_it_was_made_and_how_large_its_structures_are(scene, logic, tiny):
    result = logic.segment(add_sequence(scene)[0], tiny)
    for index in range(3):
        node = result.GetNthDataNode(index)
        assert node.GetAttribute("MedNeXtSegmentation.model") == "tiny"
        assert len(node.GetAttribute("MedNeXtSegmentation.fold_0_sha256")) == 64
        assert "spleen" in node.GetAttribute("MedNeXtSegmentation.volumes_ml")


def test_a_correction_stays_in_its_frame(scene, logic, tiny):
    sequence, browser, _proxy = add_sequence(scene)
    shown = browser.GetProxyNode(logic.segment(sequence, tiny))
    browser.SetSelectedItemNumber(1)
    shown.GetSegmentation().GetNthSegment(0).SetName("corrected")
    browser.SetSelectedItemNumber(2)
    assert shown.GetSegmentation().GetNthSegment(0).GetName() == "spleen"
    browser.SetSelectedItemNumber(1)
    assert shown.GetSegmentation().GetNthSegment(0).GetName() == "corrected"


def test_a_sequence_without_a_browser_gets_one(scene, logic, tiny):
    sequence, browser, proxy = add_sequence(scene, frames=2)
    for node in (browser, proxy):
        scene.RemoveNode(node)
    result = logic.segment(sequence, tiny)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(result)
    assert browser.GetProxyNode(result) is not None and browser.GetProxyNode(sequence) is not None


def test_the_volume_that_a_browser_shows_stands_for_itself(scene, logic, tiny):
    _sequence, _browser, proxy = add_sequence(scene)
    assert logic.segment(proxy, tiny).IsA("vtkMRMLSegmentationNode")


def test_channels_may_be_sequences_and_volumes(scene, logic, two):
    first, browser, _proxy = add_sequence(scene)
    still = add_volume(scene, head(seed=9), OBLIQUE_LEFT_HANDED, "FLAIR")
    result = logic.segment([first, still], two, device="cpu")
    frame = add_volume(scene, head(seed=1), OBLIQUE_LEFT_HANDED)
    alone = labelmap_of(logic.segment([frame, still], two, device="cpu"), frame)
    browser.SetSelectedItemNumber(1)
    np.testing.assert_array_equal(labelmap_of(browser.GetProxyNode(result), frame), alone)


def test_the_progress_is_that_of_all_frames(scene, logic, tiny):
    events = []
    logic.segment(add_sequence(scene)[0], tiny, progressCallback=events.append)
    tiles = [event for event in events if event["stage"] == "network"]
    assert [event["done"] for event in tiles] == sorted(event["done"] for event in tiles)
    assert tiles[-1]["done"] == tiles[-1]["total"]
    assert {event["frame"] for event in events} == {1, 2, 3}


def test_a_frame_that_cannot_be_segmented_is_named_and_nothing_is_added(scene, logic, tiny):
    sequence = add_sequence(scene)[0]
    slicer.util.updateVolumeFromArray(sequence.GetNthDataNode(1), np.full((8, 8, 8), 7.0))
    before = nodes(scene)
    with pytest.raises(UnsupportedImageError, match=r"Frame 2 of 3 \(time 0.4 s\).*7 everywhere"):
        logic.segment(sequence, tiny)
    assert nodes(scene) == before


def test_cancelling_leaves_the_scene_as_it_was(scene, logic, tiny):
    sequence = add_sequence(scene)[0]
    before, ended = nodes(scene), []
    running = logic.segmentAsync(sequence, tiny, onDone=ended.append, onError=ended.append)
    running.cancel()
    while running.running:
        slicer.app.processEvents()
    assert isinstance(ended[0], Cancelled)
    assert nodes(scene) == before


def test_in_the_background_the_sequence_is_given_to_the_callback(scene, logic, tiny):
    ended = []
    running = logic.segmentAsync(add_sequence(scene)[0], tiny, onDone=ended.append)
    while running.running:
        slicer.app.processEvents()
    assert ended[0].GetNumberOfDataNodes() == 3


@pytest.mark.parametrize(("frame", "turn"), [(2, 2), (1, 3)], ids=["meanwhile", "after its own turn"])
def test_a_frame_that_changes_gets_no_result(scene, logic, tiny, frame, turn):
    sequence = add_sequence(scene)[0]
    before = nodes(scene)

    def write(event):
        if event["frame"] == turn and event["stage"] == "network":
            slicer.util.arrayFromVolume(sequence.GetNthDataNode(frame - 1))[0] = 0
            slicer.util.arrayFromVolumeModified(sequence.GetNthDataNode(frame - 1))

    with pytest.raises(InputError, match=rf"Frame {frame} of 3.*changed"):
        logic.segment(sequence, tiny, progressCallback=write)
    assert nodes(scene) == before


def test_a_sequence_that_is_deformed_meanwhile_gets_no_result(scene, logic, tiny):
    sequence, _browser, proxy = add_sequence(scene)
    warp = add_warp(scene).GetID()
    before = nodes(scene)
    with pytest.raises(GeometryError, match="deforms"):
        logic.segment(
            sequence, tiny, progressCallback=lambda _event: proxy.SetAndObserveTransformNodeID(warp)
        )
    assert nodes(scene) == before


def test_a_frame_that_is_removed_meanwhile_is_named(scene, logic, tiny):
    sequence = add_sequence(scene)[0]
    before = nodes(scene)

    def remove(_event):
        sequence.RemoveDataNodeAtValue(TIMES[1])

    with pytest.raises(InputError, match=r"Frame 2 of 3.*was removed"):
        logic.segment(sequence, tiny, progressCallback=remove)
    assert nodes(scene) == before


def test_a_sequence_that_is_removed_meanwhile_gets_no_result(scene, logic, tiny):
    sequence, browser, _proxy = add_sequence(scene)
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")

    def remove(_event):
        if sequence.GetScene():
            scene.RemoveNode(browser)
            scene.RemoveNode(sequence)

    with pytest.raises(GeometryError, match="removed"):
        logic.segment(sequence, tiny, progressCallback=remove)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count


def test_arguments_that_do_not_fit_are_refused_before_anything_starts(scene, logic, tiny, two):
    sequence, browser, proxy = add_sequence(scene)
    there = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "there")
    with pytest.raises(OptionError, match="an existing segmentation stays as it is"):
        logic.segment(sequence, tiny, segmentationNode=there)
    with pytest.raises(InputError, match="no frames"):
        logic.segment(scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty"), tiny)
    short = add_sequence(scene, "short", frames=2)[0]
    with pytest.raises(InputError, match=r"no frame at the index 0.85"):
        logic.segment([sequence, short], two)
    proxy.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(3, 0, 0)).GetID())
    with pytest.raises(GeometryError, match="different transforms"):
        logic.segment([sequence, add_volume(scene, head(), name="FLAIR")], two)
    add_sequence(scene, "second", browser=browser)
    with pytest.raises(InputError, match='"heart", "second"'):
        logic.segment(browser, tiny)


def test_frames_are_left_out_of_a_batch(scene, logic, tiny):
    add_sequence(scene)
    (result,) = logic.segmentScene(tiny)
    assert result.row.status == "left out" and "segment the sequence" in result.row.message


def uncertain(scene, logic, tiny):
    """A sequence that was segmented with its uncertainty, its browser, and the views of both."""
    sequence, browser, proxy = add_sequence(scene)
    result = logic.segment(sequence, tiny, device="cpu", uncertainty=True)
    segmentation = browser.GetProxyNode(result)
    return browser, proxy, segmentation, uncertainty_of(segmentation)


def test_the_uncertainty_of_each_frame_is_that_of_the_frame_as_a_volume_of_its_own(scene, logic, tiny):
    browser, proxy, _segmentation, uncertainty = uncertain(scene, logic, tiny)
    assert browser.GetSequenceNode(uncertainty).GetNumberOfDataNodes() == 3
    for index in (2, 0, 1):
        browser.SetSelectedItemNumber(index)
        alone = add_volume(scene, head(seed=index), OBLIQUE_LEFT_HANDED)
        expected = uncertainty_of(logic.segment(alone, tiny, device="cpu", uncertainty=True))
        shown = slicer.util.arrayFromVolume(uncertainty)
        assert shown.dtype == np.uint8  # in percent: as floats they would take four times the memory
        assert np.abs(shown - 100 * slicer.util.arrayFromVolume(expected)).max() <= 0.5001
        assert 0 < shown.max() <= 100
        assert places_of(uncertainty) == places_of(expected) != []
        assert np.allclose(ijk_to_ras_of(uncertainty), ijk_to_ras_of(proxy))


def test_the_uncertainty_of_a_sequence_is_shown_as_that_of_a_volume(scene, logic, tiny):
    _browser, proxy, _segmentation, uncertainty = uncertain(scene, logic, tiny)
    alone = add_volume(scene, slicer.util.arrayFromVolume(proxy), OBLIQUE_LEFT_HANDED)
    expected = uncertainty_of(logic.segment(alone, tiny, device="cpu", uncertainty=True)).GetDisplayNode()
    display = uncertainty.GetDisplayNode()
    assert uncertainty.GetName() == "heart uncertainty in percent"
    assert display.GetLowerThreshold() == pytest.approx(100 * expected.GetLowerThreshold())
    assert display.GetUpperThreshold() == pytest.approx(100 * expected.GetUpperThreshold())
    assert display.GetColorNodeID() == expected.GetColorNodeID()
    assert display.GetWindowLevelMax() <= 100 and display.GetWindowLevelMin() == 0


def test_without_the_option_there_is_no_sequence_of_uncertainty(scene, logic, tiny):
    sequence, browser, _proxy = add_sequence(scene)
    segmentation = browser.GetProxyNode(logic.segment(sequence, tiny, device="cpu"))
    assert uncertainty_of(segmentation) is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 2


def test_the_uncertainty_of_a_sequence_moves_with_the_images_and_is_never_taken_for_one(scene, logic, tiny):
    sequence, browser, proxy = add_sequence(scene)
    transform = add_linear_transform(scene, translation(30, 0, 0))
    proxy.SetAndObserveTransformNodeID(transform.GetID())
    result = logic.segment(sequence, tiny, device="cpu", uncertainty=True)
    uncertainty = uncertainty_of(browser.GetProxyNode(result))
    assert uncertainty.GetTransformNodeID() == transform.GetID()
    assert is_uncertainty(uncertainty)
    browser.SetSelectedItemNumber(2)
    assert is_uncertainty(uncertainty)
    moved = places_of(uncertainty)
    uncertainty.SetAndObserveTransformNodeID(None)
    assert np.allclose(np.array(moved) - places_of(uncertainty), (30, 0, 0))


def test_before_a_frame_was_chosen_the_places_are_those_of_the_first(scene, logic, tiny):
    browser, _proxy, _segmentation, uncertainty = uncertain(scene, logic, tiny)
    browser.SetSelectedItemNumber(0)
    first = places_of(uncertainty)
    browser.SetSelectedItemNumber(-1)
    assert places_of(uncertainty) == first


def test_a_saved_scene_knows_the_places_of_all_frames(scene, logic, tiny, tmp_path):
    browser, _proxy, _segmentation, uncertainty = uncertain(scene, logic, tiny)
    expected = []
    for index in range(3):
        browser.SetSelectedItemNumber(index)
        expected.append(places_of(uncertainty))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), properties={"clear": True})
    browser = slicer.util.getFirstNodeByClassByName("vtkMRMLSequenceBrowserNode", "heart browser")
    segmentation = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    uncertainty = uncertainty_of(segmentation)
    for index in range(3):
        browser.SetSelectedItemNumber(index)
        assert is_uncertainty(uncertainty)
        assert np.allclose(places_of(uncertainty), expected[index], atol=1e-3)


def test_cancelling_leaves_no_uncertainty_behind(scene, logic, tiny):
    sequence, _browser, _proxy = add_sequence(scene)
    before = nodes(scene)

    def cancel(event):
        if event["frame"] == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        logic.segment(sequence, tiny, uncertainty=True, progressCallback=cancel)
    assert nodes(scene) == before
