"""A corrected segment is never replaced without a question, whatever happens during the run."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.scene.segmentation_nodes import (
    SHAPE,
    blocks,
    by_name,
    new_segmentation,
    paint,
    put,
    result,
    segment_into,
    voxels,
)
from fixtures.scene.volume_nodes import OBLIQUE_LEFT_HANDED, add_volume, head, translation
from mednext.images.geometry import Roi
from mednext.segmentation.formats.seg_nrrd import write_seg_nrrd
from MedNeXtSegmentationLib.scene.result_record import provenance_of
from MedNeXtSegmentationLib.scene.results.result_place import ResultPlace
from MedNeXtSegmentationLib.scene.segments.corrected_segments import corrected_segments
from MedNeXtSegmentationLib.scene.segments.segment_history import redo, undo


@pytest.fixture
def volume(scene):
    return add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)


@pytest.fixture
def node(volume):
    """A segmentation of an earlier run."""
    return new_segmentation(volume, blocks(0))


def corrected(node, values=(1, 2)):
    return corrected_segments(node.GetSegmentation(), "tiny", values)


def test_a_corrected_segment_is_left_alone_and_the_others_are_replaced(node, volume):
    drawn = blocks(5, (1,))
    paint(node, by_name(node, "liver"), drawn, volume)
    labelmap = blocks(1)
    segment_into(node, volume, labelmap)
    assert np.array_equal(voxels(node, by_name(node, "liver"), volume), drawn)
    assert np.array_equal(voxels(node, by_name(node, "spleen"), volume), (labelmap == 1) & (drawn == 0))
    assert provenance_of(node)["left_alone"] == "liver"


def test_segments_that_nobody_touched_are_known_to_be_as_they_were_found(node, volume):
    assert corrected(node) == []
    segment_into(node, volume, blocks(1))
    assert corrected(node) == []
    undo(node)
    assert corrected(node) == []
    redo(node)
    assert corrected(node) == []
    assert "left_alone" not in provenance_of(node)


def test_a_new_name_or_colour_is_no_correction(node, volume):
    segment = node.GetSegmentation().GetSegment(by_name(node, "liver"))
    segment.SetName("Leber")
    segment.SetColor(1, 0, 1)
    assert corrected(node) == []


def test_a_single_voxel_is_a_correction_and_taking_it_back_is_none(node, volume):
    liver = by_name(node, "liver")
    found = voxels(node, liver, volume)
    changed = found.copy()
    changed[tuple(np.argwhere(found)[0])] = 0
    paint(node, liver, changed, volume)
    assert corrected(node) == ["liver"]
    assert corrected(node, (1,)) == []
    paint(node, liver, found, volume)
    assert corrected(node) == []


def test_a_structure_that_the_user_erased_stays_erased(node, volume):
    paint(node, by_name(node, "liver"), np.zeros(SHAPE), volume)
    segment_into(node, volume, blocks(1))
    assert not voxels(node, by_name(node, "liver"), volume).any()


def test_segments_corrected_during_the_run_are_always_left_alone(node, volume):
    place = ResultPlace([volume], into=node, replace_corrected=True)
    drawn = blocks(5, (1,))
    paint(node, by_name(node, "liver"), drawn, volume)
    put(place, result(volume, blocks(1)))
    assert np.array_equal(voxels(node, by_name(node, "liver"), volume), drawn)


def test_the_user_may_have_corrections_replaced(node, volume):
    paint(node, by_name(node, "liver"), blocks(5, (1,)), volume)
    labelmap = blocks(1)
    segment_into(node, volume, labelmap, replace_corrected=True)
    assert np.array_equal(voxels(node, by_name(node, "liver"), volume), labelmap == 2)
    assert corrected(node) == []


def test_corrections_beyond_the_region_of_a_run_are_still_corrections_afterwards(scene):
    volume = add_volume(scene, head(SHAPE), translation(0, 0, 0))
    node = new_segmentation(volume, blocks(0))
    drawn = (blocks(0) == 1).astype(np.uint8)
    drawn[11, 13, 15] = 1
    paint(node, by_name(node, "spleen"), drawn, volume)
    roi = Roi((-0.4, -0.4, -0.4), (3.4, 3.4, 3.4))
    segment_into(node, volume, np.zeros(SHAPE), roi, replace_corrected=True)
    assert voxels(node, by_name(node, "spleen"), volume)[11, 13, 15]
    assert corrected(node) == ["spleen"]


def test_a_segment_from_before_there_were_fingerprints_is_left_alone(node, volume):
    liver = by_name(node, "liver")
    node.GetSegmentation().GetSegment(liver).RemoveTag("MedNeXtSegmentation.Fingerprint")
    before = voxels(node, liver, volume)
    segment_into(node, volume, blocks(1))
    assert np.array_equal(voxels(node, liver, volume), before)


def test_corrections_are_known_after_the_scene_was_saved_and_read(node, volume, scene, tmp_path):
    drawn = blocks(5, (1,))
    paint(node, by_name(node, "liver"), drawn, volume)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(node)
    read = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(read)
    assert corrected(read) == ["liver"]


def test_corrections_of_a_file_of_the_command_line_are_known(volume, scene, tmp_path):
    labelmap = blocks(0)
    write_seg_nrrd(tmp_path / "case.seg.nrrd", result(volume, labelmap))
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    read = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(read)
    assert corrected(read) == []
    drawn = blocks(5, (1,))
    paint(read, by_name(read, "liver"), drawn, volume)
    assert corrected(read) == ["liver"]
    segment_into(read, volume, blocks(1))
    assert np.array_equal(voxels(read, by_name(read, "liver"), volume), drawn)


def test_labelmaps_that_slicer_puts_together_or_apart_are_no_corrections(node, volume):
    segmentation = node.GetSegmentation()
    segmentation.SeparateSegmentLabelmap(by_name(node, "liver"))
    assert corrected(node) == []
    segmentation.CollapseBinaryLabelmaps(False)
    assert corrected(node) == []
