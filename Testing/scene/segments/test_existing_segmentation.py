"""A result in an existing segmentation never changes foreign segments, and can be undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from fixtures.panel.driving import FELT_S, TRIES, standstill
from fixtures.scene.segmentation_nodes import (
    LABELS,
    SHAPE,
    blocks,
    by_name,
    drained,
    draw,
    new_segmentation,
    paint,
    put,
    result,
    segment_into,
    voxels,
)
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    add_warp,
    head,
    translation,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mednext.errors import Cancelled, GeometryError, OptionError
from mednext.segmentation.formats.seg_nrrd import write_seg_nrrd
from mednext.worker.hand_over import ALL, HandedOver
from MedNeXtSegmentationLib.scene.result_record import (
    found_labels_of,
    images_of,
    provenance_of,
    uncertainty_of,
)
from MedNeXtSegmentationLib.scene.results.result_place import ResultPlace
from MedNeXtSegmentationLib.scene.segments.segment_history import can_redo, can_undo, redo, undo
from vtk.util.numpy_support import vtk_to_numpy


def snapshot(node, segment_ids, volume):
    """Everything about segments that must not change."""
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    seen = {}
    for segment_id in segment_ids:
        segment = segmentation.GetSegment(segment_id)
        seen[segment_id] = (
            voxels(node, segment_id, volume).tobytes(),
            segment.GetName(),
            segment.GetColor(),
            segment.GetTerminology(),
            display.GetSegmentVisibility(segment_id),
            display.GetSegmentOpacity2DFill(segment_id),
        )
    return seen


@pytest.fixture
def volume(scene):
    return add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)


@pytest.fixture
def node(volume):
    """A segmentation of an earlier run."""
    return new_segmentation(volume, blocks(0))


def test_segments_of_the_model_get_new_voxels_in_their_place(node, volume):
    ids = node.GetSegmentation().GetSegmentIDs()
    labelmap = blocks(1)
    assert segment_into(node, volume, labelmap) is node
    assert node.GetSegmentation().GetSegmentIDs() == ids
    for segment_id, label in zip(ids, LABELS, strict=True):
        assert np.array_equal(voxels(node, segment_id, volume), labelmap == label.value)


def test_a_segment_that_the_user_drew_stays_whatever_it_is_called(node, volume, scene):
    free = (blocks(0) == 0) & (blocks(1, (7,)) == 7)
    own = draw(node, "liver", free, volume)
    node.GetSegmentation().GetSegment(own).SetColor(0.1, 0.2, 0.3)
    node.GetDisplayNode().SetSegmentOpacity2DFill(own, 0.25)
    node.GetSegmentation().SetSegmentIndex(own, 0)
    before, order = snapshot(node, [own], volume), node.GetSegmentation().GetSegmentIDs()
    segment_into(node, volume, np.full(SHAPE, 2))  # over all of it
    assert snapshot(node, [own], volume) == before
    assert node.GetSegmentation().GetSegmentIDs() == order


def test_a_segment_that_the_user_renamed_is_still_the_models(node, volume):
    liver = by_name(node, "liver")
    node.GetSegmentation().GetSegment(liver).SetName("Leber, korrigiert")
    node.GetSegmentation().GetSegment(liver).SetColor(1, 0, 1)
    labelmap = blocks(1)
    segment_into(node, volume, labelmap)
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    segment = node.GetSegmentation().GetSegment(liver)
    assert (segment.GetName(), segment.GetColor()) == ("Leber, korrigiert", (1.0, 0.0, 1.0))
    assert np.array_equal(voxels(node, liver, volume), labelmap == 2)


def test_a_copy_that_the_user_made_of_a_segment_is_the_users(node, volume):
    segmentation = node.GetSegmentation()
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment(by_name(node, "liver")))
    copy.SetName("liver before")
    segmentation.AddSegment(copy, segmentation.GenerateUniqueSegmentID("copy"))
    own = by_name(node, "liver before")
    before = snapshot(node, [own], volume)
    segment_into(node, volume, blocks(1))
    assert snapshot(node, [own], volume) == before


def test_segments_of_another_model_stay(node, volume):
    others = node.GetSegmentation().GetSegmentIDs()
    before = snapshot(node, others, volume)
    segment_into(node, volume, blocks(1), model="second")
    assert snapshot(node, others, volume) == before
    assert node.GetSegmentation().GetNumberOfSegments() == 4


def test_structures_that_were_not_asked_for_stay(node, volume):
    spleen = by_name(node, "spleen")
    before = snapshot(node, [spleen], volume)
    labelmap = blocks(1)
    put(ResultPlace([volume], into=node, structures=["liver"]), result(volume, labelmap))
    assert snapshot(node, [spleen], volume) == before
    assert np.array_equal(voxels(node, by_name(node, "liver"), volume), labelmap == 2)


def test_a_labelmap_that_the_user_goes_on_with_has_no_voxels_left_of_ours(node, volume):
    """Slicer gives a new segment in a shared labelmap the first free value, which was one of ours."""
    own = draw(node, "mine", (blocks(0) == 0) & (blocks(2, (1,)) == 1), volume)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 1
    segment_into(node, volume, np.zeros(SHAPE))
    value = segmentation.GetUniqueLabelValueForSharedLabelmap(own)
    labelmap = segmentation.GetSegment(own).GetRepresentation("Binary labelmap")
    assert value not in vtk_to_numpy(labelmap.GetPointData().GetScalars())


def test_undo_restores_the_same_voxels_whatever_is_drawn_after_a_run(node, volume):
    own = draw(node, "mine", (blocks(0) == 0) & (blocks(2, (1,)) == 1), volume)
    ours = node.GetSegmentation().GetSegmentIDs()[:2]
    before = snapshot(node, ours, volume)
    segment_into(node, volume, np.zeros(SHAPE))
    paint(node, own, np.ones(SHAPE), volume)  # over all that was ours
    undo(node)
    assert snapshot(node, ours, volume) == before
    assert voxels(node, own, volume).all()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds=st.lists(st.integers(0, 9), min_size=6, max_size=6), collapse=st.booleans(), edit=st.booleans())
def test_foreign_segments_are_identical_after_a_run_an_undo_and_a_redo(scene, seeds, collapse, edit):
    scene.Clear(0)
    volume = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)
    node = new_segmentation(volume, blocks(seeds[0]))
    ours = node.GetSegmentation().GetSegmentIDs()
    own = [draw(node, f"own {n}", blocks(seed, (1,)), volume) for n, seed in enumerate(seeds[1:4])]
    if edit:
        paint(node, ours[0], blocks(seeds[4], (1,)), volume)
    if collapse:
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
    foreign, corrected = snapshot(node, own, volume), snapshot(node, ours, volume)
    labelmap = blocks(seeds[5])
    segment_into(node, volume, labelmap, replace_corrected=True)
    made = snapshot(node, ours, volume)
    paint(node, own[0], blocks(seeds[0], (1,)), volume)
    foreign = {**foreign, **snapshot(node, own[:1], volume)}
    assert [voxels(node, ours[n], volume).sum() for n in (0, 1)] == [(labelmap == n).sum() for n in (1, 2)]
    assert snapshot(node, own, volume) == foreign
    assert snapshot(node, ours, volume) == made
    undo(node)
    assert snapshot(node, ours, volume) == corrected
    assert snapshot(node, own, volume) == foreign
    redo(node)
    assert snapshot(node, ours, volume) == made
    assert snapshot(node, own, volume) == foreign


def test_undo_keeps_later_corrections_for_redo(node, volume):
    liver = by_name(node, "liver")
    segment_into(node, volume, blocks(1))
    correction = blocks(5, (1,))
    paint(node, liver, correction, volume)
    undo(node)
    assert np.array_equal(voxels(node, liver, volume), blocks(0) == 2)
    assert can_redo(node)
    redo(node)
    assert np.array_equal(voxels(node, liver, volume), correction)


def test_undo_leads_back_over_several_runs(node, volume):
    liver = by_name(node, "liver")
    paint(node, liver, blocks(5, (1,)), volume)
    for seed in (1, 2, 3):
        segment_into(node, volume, blocks(seed), replace_corrected=True)
    for seed in (2, 1):
        undo(node)
        assert np.array_equal(voxels(node, liver, volume), blocks(seed) == 2)
    undo(node)
    assert np.array_equal(voxels(node, liver, volume), blocks(5, (1,)))
    assert not can_undo(node)


def test_undo_removes_segments_that_the_run_has_added(volume, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    own = draw(node, "own", blocks(3, (1,)), volume)
    segment_into(node, volume, blocks(0))
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    undo(node)
    assert node.GetSegmentation().GetSegmentIDs() == (own,)
    redo(node)
    assert np.array_equal(voxels(node, by_name(node, "liver"), volume), blocks(0) == 2)


def test_the_segment_editor_is_asked_to_save_its_own_state(node, volume, monkeypatch):
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.SegmentEditorWidget.editor
    editor.setSegmentationNode(node)
    saved = []
    monkeypatch.setattr(type(editor), "saveStateForUndo", lambda _editor: saved.append(1), raising=False)
    segment_into(node, volume, blocks(1))
    assert saved == [1]


def test_surfaces_that_were_shown_are_those_of_the_new_voxels(node, volume):
    node.CreateClosedSurfaceRepresentation()
    own = draw(node, "own", blocks(3, (1,)), volume)
    node.CreateClosedSurfaceRepresentation()
    surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    segmentation = node.GetSegmentation()
    kept = segmentation.GetSegment(own).GetRepresentation(surface)
    box = np.zeros(SHAPE)
    box[2:8, 3:9, 4:10] = 2
    segment_into(node, volume, box)
    assert segmentation.GetSegment(own).GetRepresentation(surface) is kept
    liver = segmentation.GetSegment(by_name(node, "liver"))
    mass = vtk.vtkMassProperties()
    mass.SetInputData(liver.GetRepresentation(surface))
    assert mass.GetVolume() == pytest.approx(6**3 * 1.2 * 0.9 * 0.8, rel=0.2)


def test_a_nonlinear_transform_between_them_is_refused_before_the_run(node, volume, scene):
    volume.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(GeometryError, match="non-linear transform"):
        ResultPlace([volume], into=node)


def test_a_segmentation_of_surfaces_is_refused(volume, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "contours")
    name = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    node.GetSegmentation().SetSourceRepresentationName(name)
    with pytest.raises(OptionError, match="surfaces or contours"):
        ResultPlace([volume], into=node)


def test_a_segmentation_of_fractional_labelmaps_is_refused(node, volume):
    name = "Fractional labelmap"
    assert node.GetSegmentation().CreateRepresentation(name)
    node.GetSegmentation().SetSourceRepresentationName(name)
    with pytest.raises(OptionError, match="no labelmaps"):
        ResultPlace([volume], into=node)


def test_the_frame_of_a_sequence_is_refused(node, volume, scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    sequence.SetDataNodeAtValue(node, "0")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    with pytest.raises(OptionError, match="one frame of a sequence"):
        ResultPlace([volume], into=browser.GetProxyNode(sequence))


def test_a_segmentation_that_was_moved_meanwhile_stays_as_it_is(node, volume, scene):
    place = ResultPlace([volume], into=node)
    node.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(9, 0, 0)).GetID())
    before = snapshot(node, node.GetSegmentation().GetSegmentIDs(), volume)
    with pytest.raises(GeometryError, match="moved in space"):
        put(place, result(volume, blocks(1)))
    assert snapshot(node, node.GetSegmentation().GetSegmentIDs(), volume) == before


def test_a_channel_that_was_moved_against_the_first_meanwhile_is_named(volume, scene):
    second = add_volume(scene, head(SHAPE, seed=1), OBLIQUE_LEFT_HANDED, name="T2")
    place = ResultPlace([volume, second])
    both = add_linear_transform(scene, translation(9, 0, 0)).GetID()
    volume.SetAndObserveTransformNodeID(both)
    with pytest.raises(GeometryError, match='"T2" was moved against "T1"'):
        put(place, result(volume, blocks(1)))
    second.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(GeometryError, match='"T2" was moved against "T1"'):
        put(place, result(volume, blocks(1)))
    second.SetAndObserveTransformNodeID(both)
    assert put(place, result(volume, blocks(1)))


def test_a_channel_that_was_removed_meanwhile_is_not_remembered(volume, scene):
    second = add_volume(scene, head(SHAPE, seed=1), OBLIQUE_LEFT_HANDED, name="T2")
    place = ResultPlace([volume, second])
    scene.RemoveNode(second)
    node = put(place, result(volume, blocks(1)))
    assert node.GetNumberOfNodeReferences("MedNeXtSegmentation.image") == 1


def test_a_segmentation_that_was_removed_meanwhile_is_named(node, volume, scene):
    place = ResultPlace([volume], into=node)
    scene.RemoveNode(node)
    with pytest.raises(GeometryError, match="T1 segmentation"):
        put(place, result(volume, blocks(1)))


def test_tags_survive_saving_so_that_the_next_session_knows_its_segments(node, volume, scene, tmp_path):
    draw(node, "own", blocks(3, (1,)), volume)
    slicer.util.saveNode(node, str(tmp_path / "a.seg.nrrd"), {})
    scene.RemoveNode(node)
    loaded = slicer.util.loadSegmentation(str(tmp_path / "a.seg.nrrd"))
    segment_into(loaded, volume, blocks(1))
    assert loaded.GetSegmentation().GetNumberOfSegments() == 3
    assert np.array_equal(voxels(loaded, by_name(loaded, "liver"), volume), blocks(1) == 2)
    assert np.array_equal(voxels(loaded, by_name(loaded, "own"), volume), blocks(3, (1,)))


def test_a_file_of_a_batch_gets_new_voxels_instead_of_the_same_segments_again(volume, tmp_path):
    write_seg_nrrd(tmp_path / "case.seg.nrrd", result(volume, blocks(0)))
    node = slicer.util.loadSegmentation(str(tmp_path / "case.seg.nrrd"))
    segment_into(node, volume, blocks(1))
    names = [node.GetSegmentation().GetNthSegment(number).GetName() for number in range(2)]
    assert names == ["spleen", "liver"] and node.GetSegmentation().GetNumberOfSegments() == 2
    assert np.array_equal(voxels(node, by_name(node, "spleen"), volume), blocks(1) == 1)


def test_unknown_structures_are_refused_by_name(volume):
    with pytest.raises(OptionError, match=r"'lungs'.*spleen \(1\), liver \(2\)"):
        put(ResultPlace([volume], structures=["lungs"]), result(volume, blocks(0)))


def test_labels_of_a_wide_labelmap_keep_their_values(volume):
    labels = (replace(LABELS[0], value=300), LABELS[1])
    labelmap = np.zeros(SHAPE, dtype=np.uint16)
    labelmap[0, 0, 0], labelmap[1, 1, 1] = 300, 2
    only = result(volume, labelmap, labels=labels).only([300])
    assert set(np.unique(only.labelmap)) == {0, 300}
    assert [label.value for label in only.labels] == [300]


def test_undo_takes_provenance_and_volumes_back_too(node, volume, scene):
    before = provenance_of(node)
    other = add_volume(scene, head(SHAPE, seed=1), OBLIQUE_LEFT_HANDED, name="other")
    uncertainty = np.zeros(SHAPE, dtype=np.float32)
    segment_into(node, other, blocks(1), uncertainty=uncertainty)
    assert images_of(node) == [other]
    assert uncertainty_of(node).GetName() == "other uncertainty"
    after = provenance_of(node)
    assert after["volumes_ml"] != before["volumes_ml"]
    undo(node)
    assert provenance_of(node) == before
    assert images_of(node) == [volume]
    assert uncertainty_of(node) is None
    assert np.array_equal(found_labels_of(node).labelmap(), blocks(0))
    redo(node)
    assert provenance_of(node) == after
    assert images_of(node) == [other]


def test_a_colour_table_that_the_user_gave_stays(node, volume, scene):
    mine = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "mine")
    node.SetLabelmapConversionColorTableNodeID(mine.GetID())
    segment_into(node, volume, blocks(1))
    assert node.GetLabelmapConversionColorTableNode() is mine


def test_undo_of_the_first_run_takes_the_colour_table_away(volume, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segment_into(node, volume, blocks(1))
    table = node.GetLabelmapConversionColorTableNode()
    assert table.GetName() == "tiny labels"
    undo(node)
    assert node.GetLabelmapConversionColorTableNode() is None
    redo(node)
    assert node.GetLabelmapConversionColorTableNode() is table


def test_a_hardened_transform_moves_the_image_and_its_results(node, volume, scene):
    volume.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(40, 0, 0)).GetID())
    volume.HardenTransform()
    labelmap = blocks(1)
    segment_into(node, volume, labelmap)
    assert node.GetParentTransformNode() is None
    liver = by_name(node, "liver")
    assert np.array_equal(voxels(node, liver, volume), labelmap == 2)


def test_a_result_that_is_being_prepared_can_be_cancelled_at_any_time(volume):
    uncertainty = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    made = result(volume, blocks(0), uncertainty=uncertainty)
    asked = 0

    def cancelled_at(number):
        def cancelled():
            nonlocal asked
            asked += 1
            return asked == number

        return cancelled

    HandedOver.of(made, ALL, cancelled_at(0))
    steps, asked = asked, 0
    assert steps > SHAPE[0]  # before every plane in which places are looked for, and between all else
    for number in range(1, steps + 1):
        asked = 0
        with pytest.raises(Cancelled):
            HandedOver.of(made, ALL, cancelled_at(number))
        assert asked == number


@pytest.mark.parametrize("shared", [False, True])
def test_the_hand_over_of_a_large_result_is_not_felt(scene, shared):
    shape = (96, 256, 256)
    volume = add_volume(scene, np.zeros(shape, dtype=np.int16))
    node = new_segmentation(volume, blocks(0, shape=shape))
    if shared:
        draw(node, "mine", blocks(3, (1,), shape), volume)
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
    uncertainty = np.random.default_rng(0).random(shape, dtype=np.float32)

    def seconds():
        made = result(volume, np.ones(shape), uncertainty=uncertainty)
        place = ResultPlace([volume], into=node)
        prepared = drained(place.copying(HandedOver.of(made, place.wishes)))  # little by little
        return standstill(lambda: place.add(prepared))

    assert any(seconds() < FELT_S for _ in range(TRIES))
