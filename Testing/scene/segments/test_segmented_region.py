"""Each segment knows in which voxels it was looked for: beyond them, empty voxels teach nothing."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fixtures.scene.segmentation_nodes import SHAPE, blocks, draw, new_segmentation, put, result
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    head,
    translation,
)
from mednext.errors import OptionError
from mednext.images.geometry import Roi
from MedNeXtSegmentationLib.scene.results.result_place import ResultPlace
from MedNeXtSegmentationLib.scene.segments.segment_history import redo, undo
from MedNeXtSegmentationLib.scene.segments.segmented_region import segmented_region

ROI = "-3 -2 0 4 5 9.5"
WHOLE = tuple(slice(0, n) for n in SHAPE)


@pytest.fixture
def volume(scene):
    return add_volume(scene, head(SHAPE), np.diag([1.5, 1.5, 2.0, 1.0]))


def limited(volume, roi=ROI, into=None, structures=None, seed=0):
    """The result of a run that was limited to a region."""
    segmentation = result(volume, blocks(seed))
    segmentation.provenance["roi_ras_mm"] = roi
    return put(ResultPlace([volume], into, structures), segmentation)


def box_of(roi, volume):
    corners = [float(mm) for mm in roi.split()]
    geometry = result(volume, blocks(0)).geometry
    return Roi(tuple(corners[:3]), tuple(corners[3:])).box_in(geometry)


def test_the_region_of_a_run_is_known_in_voxels(volume):
    assert segmented_region(limited(volume), "tiny", volume) == box_of(ROI, volume)
    assert segmented_region(new_segmentation(volume, blocks(0)), "tiny", volume) == WHOLE


def test_a_transform_that_is_hardened_later_changes_no_voxel(volume, scene):
    node = limited(volume)
    before = segmented_region(node, "tiny", volume)
    transform = add_linear_transform(scene, translation(100, 0, 0) @ OBLIQUE_LEFT_HANDED)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    volume.HardenTransform()
    assert segmented_region(node, "tiny", volume) == before


def test_it_is_saved_with_the_segments(volume, tmp_path):
    node = limited(volume)
    file = str(tmp_path / "a.seg.nrrd")
    slicer.util.saveNode(node, file, properties={})
    assert segmented_region(slicer.util.loadSegmentation(file), "tiny", volume) == box_of(ROI, volume)


def test_segments_of_different_regions_are_no_truth_for_the_whole_image(volume):
    node = limited(volume)
    put(ResultPlace([volume], node, ["liver"]), result(volume, blocks(1)))
    with pytest.raises(OptionError, match="runs of different regions"):
        segmented_region(node, "tiny", volume)


def test_undo_and_redo_bring_the_region_back(volume):
    node = limited(volume)
    put(ResultPlace([volume], node), result(volume, blocks(1)))
    assert segmented_region(node, "tiny", volume) == WHOLE
    undo(node)
    assert segmented_region(node, "tiny", volume) == box_of(ROI, volume)
    redo(node)
    assert segmented_region(node, "tiny", volume) == WHOLE


def test_of_segments_that_the_user_drew_nothing_is_known(volume, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    draw(node, "liver", (blocks(0) == 1).astype(np.uint8), volume)
    assert segmented_region(node, "tiny", volume) is None


def test_an_image_of_another_size_is_refused(volume, scene):
    with pytest.raises(OptionError, match="another size"):
        segmented_region(limited(volume), "tiny", add_volume(scene, head((5, 6, 7)), name="other"))


def test_a_voxel_that_the_region_hardly_touches_is_left_out(volume):
    whole = segmented_region(limited(volume, "-3 -2 0 4 5 9.0"), "tiny", volume)
    touched = segmented_region(limited(volume, "-3 -2 0 4 5 9.0005"), "tiny", volume)
    assert touched == whole
