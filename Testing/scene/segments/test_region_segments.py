"""Regions are segments over their labels, follow their corrections, and are not mixed up in files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from fixtures.models.bundles import tiny_bundle, tiny_regions
from fixtures.scene.segmentation_nodes import (
    by_name,
    carried_out,
    new_segmentation,
    paint,
    result,
    segment_into,
    voxels,
)
from fixtures.scene.volume_nodes import OBLIQUE_LEFT_HANDED, add_volume, head, translation
from mednext.errors import OutputError
from mednext.model.labels import Region
from mednext.segmentation.formats.seg_nrrd import write_seg_nrrd
from MedNeXtSegmentationLib.scene.export.export_job import export_job
from MedNeXtSegmentationLib.scene.export.training_job import training_job
from MedNeXtSegmentationLib.scene.result_record import volumes_of
from MedNeXtSegmentationLib.scene.segments.corrected_segments import corrected_segments
from MedNeXtSegmentationLib.scene.segments.region_segments import follow_labels, shown_regions
from MedNeXtSegmentationLib.scene.segments.segment_history import redo, undo

SIDE = 20
FIELDS = {key: tiny_regions()[key] for key in ("labels", "regions")}
NAMES = ["whole tumor", "tumor core", "edema", "necrosis", "enhancing tumor"]


def cubes(whole: int = 16, core: int = 12, enhancing: int = 8) -> np.ndarray:
    index = np.abs(np.indices((SIDE, SIDE, SIDE)) - 9.5).max(axis=0)
    return (index < whole / 2).astype(np.uint8) + (index < core / 2) + (index < enhancing / 2)


@pytest.fixture
def volume(scene):
    return add_volume(scene, head((SIDE, SIDE, SIDE)), translation(3, 4, 5))


@pytest.fixture
def node(volume):
    return new_segmentation(volume, cubes(), **FIELDS)


def drawn(node, name, volume):
    return voxels(node, by_name(node, name), volume) > 0


def expected(labelmap):
    return {
        "whole tumor": labelmap > 0,
        "tumor core": labelmap > 1,
        "edema": labelmap == 1,
        "necrosis": labelmap == 2,
        "enhancing tumor": labelmap == 3,
    }


def assert_drawn(node, volume, labelmap):
    for name, mask in expected(labelmap).items():
        assert np.array_equal(drawn(node, name, volume), mask), name


def exported(node, path):
    return [Path(file) for file in carried_out(export_job(node, path))["files"]]


def names(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(each).GetName() for each in segmentation.GetSegmentIDs()]


def test_regions_lie_over_their_labels_each_with_its_own_volume(node, volume):
    assert names(node) == NAMES
    assert_drawn(node, volume, cubes())
    assert drawn(node, "whole tumor", volume).sum() == 4096
    assert drawn(node, "edema", volume).sum() == 2368
    found = volumes_of(node)
    assert (found["whole tumor"], found["edema"]) == pytest.approx((4.096, 2.368))
    assert corrected_segments(node.GetSegmentation(), "tiny", (1, 2, 3)) == []
    assert not node.GetDisplayNode().GetSegmentVisibility2DFill(by_name(node, "whole tumor"))
    assert node.GetDisplayNode().GetSegmentVisibility2DFill(by_name(node, "edema"))


def test_regions_that_are_not_nested_share_voxels(volume):
    labelmap = np.zeros((SIDE, SIDE, SIDE), dtype=np.uint8)
    labelmap[:, :, :8], labelmap[:, :, 8:12], labelmap[:, :, 12:] = 1, 2, 3
    regions = (Region("left", (1, 2), (1, 2, 3)), Region("right", (2, 3), (4, 5, 6)))
    node = new_segmentation(volume, labelmap, labels=FIELDS["labels"], regions=regions)
    assert np.array_equal(drawn(node, "left", volume), labelmap < 3)
    assert np.array_equal(drawn(node, "right", volume), labelmap > 1)


def test_a_run_replaces_regions_and_labels_and_undo_brings_both_back(node, volume):
    ids = node.GetSegmentation().GetSegmentIDs()
    segment_into(node, volume, cubes(14, 10, 4), **FIELDS)
    assert node.GetSegmentation().GetSegmentIDs() == ids
    assert_drawn(node, volume, cubes(14, 10, 4))
    undo(node)
    assert_drawn(node, volume, cubes())
    redo(node)
    assert_drawn(node, volume, cubes(14, 10, 4))


def test_regions_follow_the_corrections_of_their_labels(node, volume):
    labelmap = cubes()
    labelmap[0, 0, :5] = 1
    paint(node, by_name(node, "edema"), labelmap == 1, volume)
    follow_labels(node)
    assert_drawn(node, volume, labelmap)


def test_a_region_all_of_whose_labels_were_erased_is_empty(node, volume):
    for name in ("necrosis", "enhancing tumor"):
        paint(node, by_name(node, name), np.zeros((SIDE, SIDE, SIDE)), volume)
    follow_labels(node)
    assert not drawn(node, "tumor core", volume).any()
    assert np.array_equal(drawn(node, "whole tumor", volume), cubes() == 1)


def test_a_region_that_was_not_found_gets_the_voxels_drawn_into_its_labels(scene, tmp_path):
    volume = add_volume(scene, head((SIDE, SIDE, SIDE)), OBLIQUE_LEFT_HANDED)
    node = new_segmentation(volume, np.zeros((SIDE, SIDE, SIDE)), **FIELDS)
    again = read(scene, exported(node, tmp_path / "case.seg.nrrd")[0])
    labelmap = np.zeros((SIDE, SIDE, SIDE), dtype=np.uint8)
    labelmap[2:5, 3:9, 4:6] = 2
    for each in (node, again):
        paint(each, by_name(each, "necrosis"), labelmap == 2, volume)
        follow_labels(each)
        assert_drawn(each, volume, labelmap)


def test_a_region_that_was_corrected_itself_stays_as_it_is(node, volume):
    whole = cubes() > 0
    whole[0, 0, :5] = True
    paint(node, by_name(node, "whole tumor"), whole, volume)
    follow_labels(node)
    assert np.array_equal(drawn(node, "whole tumor", volume), whole)
    segment_into(node, volume, cubes(14, 10, 4), **FIELDS)
    assert np.array_equal(drawn(node, "whole tumor", volume), whole)


def test_a_run_that_leaves_a_corrected_label_alone_makes_regions_of_all_labels_together(node, volume):
    edema = cubes() == 1
    edema[0, 0, :5] = True
    paint(node, by_name(node, "edema"), edema, volume)
    segment_into(node, volume, cubes(16, 12, 4), **FIELDS)
    assert np.array_equal(drawn(node, "edema", volume), edema)
    assert np.array_equal(drawn(node, "whole tumor", volume), edema | (cubes() > 1))


def test_labelmaps_have_the_labels_and_their_own_names(node, volume, tmp_path):
    labelmap = cubes()
    labelmap[0, 0, :5] = 1
    paint(node, by_name(node, "edema"), labelmap == 1, volume)
    path, table = exported(node, tmp_path / "case.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), labelmap)
    rows = [line.split(",")[:2] for line in table.read_text().splitlines()[1:]]
    assert rows == [["1", "edema"], ["2", "necrosis"], ["3", "enhancing tumor"]]


def test_a_region_that_differs_from_its_labels_is_refused_in_a_labelmap(node, volume, tmp_path):
    whole = cubes() > 0
    whole[0, 0, :5] = True
    paint(node, by_name(node, "whole tumor"), whole, volume)
    with pytest.raises(
        OutputError, match='"whole tumor" was corrected, and differs in 5 voxels from "edema"'
    ):
        exported(node, tmp_path / "case.nii.gz")
    assert not list(tmp_path.iterdir())


def test_a_region_that_was_corrected_together_with_its_labels_is_exported(node, volume, tmp_path):
    labelmap = cubes()
    labelmap[0, 0, :5] = 1
    paint(node, by_name(node, "whole tumor"), labelmap > 0, volume)
    paint(node, by_name(node, "edema"), labelmap == 1, volume)
    path, _ = exported(node, tmp_path / "case.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), labelmap)


def read(scene, path):
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(node)
    return node


def test_slicers_file_keeps_regions_and_their_labels(node, volume, scene, tmp_path):
    labelmap = cubes()
    labelmap[0, 0, :5] = 1
    paint(node, by_name(node, "edema"), labelmap == 1, volume)
    (path,) = exported(node, tmp_path / "case.seg.nrrd")
    again = read(scene, path)
    assert sorted(names(again)) == sorted(NAMES)
    assert_drawn(again, volume, labelmap)
    assert corrected_segments(again.GetSegmentation(), "tiny", (1, 2, 3)) == ["edema"]
    segment_into(again, volume, cubes(16, 12, 4), **FIELDS)
    assert len(names(again)) == 5
    assert_drawn(again, volume, np.where(labelmap == 1, labelmap, cubes(16, 12, 4)))


def test_a_file_of_the_command_line_gets_regions_by_a_run_into_it(node, volume, scene, tmp_path):
    write_seg_nrrd(tmp_path / "cli.seg.nrrd", result(volume, cubes(), **FIELDS))
    opened = read(scene, tmp_path / "cli.seg.nrrd")
    assert names(opened) == ["edema", "necrosis", "enhancing tumor"]
    segment_into(opened, volume, cubes(14, 10, 4), **FIELDS)
    assert sorted(names(opened)) == sorted(NAMES)
    assert_drawn(opened, volume, cubes(14, 10, 4))


def test_slicers_own_export_has_the_labels_wherever_the_regions_came_from(node, volume, scene, tmp_path):
    write_seg_nrrd(tmp_path / "cli.seg.nrrd", result(volume, cubes(), **FIELDS))
    opened = read(scene, tmp_path / "cli.seg.nrrd")
    segment_into(opened, volume, cubes(14, 10, 4), **FIELDS)
    assert np.array_equal(exported_by_slicer(node, volume), cubes())
    assert np.array_equal(exported_by_slicer(opened, volume), cubes(14, 10, 4))
    undo(opened)
    assert np.array_equal(exported_by_slicer(opened, volume), cubes())
    redo(opened)
    assert np.array_equal(exported_by_slicer(opened, volume), cubes(14, 10, 4))


def exported_by_slicer(node, volume):
    """The export of a node by the module Segmentations, with the colour table of its model."""
    labelmap = volume.GetScene().AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    ids, extent = node.GetSegmentation().GetSegmentIDs(), slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    table = node.GetLabelmapConversionColorTableNode()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ExportSegmentsToLabelmapNode(node, ids, labelmap, volume, extent, table)
    return slicer.util.arrayFromVolume(labelmap)


def test_a_label_that_the_first_versions_called_like_its_region_gets_its_own_name(volume):
    edema, *others = FIELDS["labels"]
    before = (replace(edema, name="whole tumor"), *others)
    node = new_segmentation(volume, cubes(), labels=before)
    segment_into(node, volume, cubes(14, 10, 4), **FIELDS)
    assert sorted(names(node)) == sorted(NAMES)
    assert_drawn(node, volume, cubes(14, 10, 4))


def test_a_training_case_has_the_labels(node, volume, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    tiny_bundle(tmp_path / "models" / "tiny", **tiny_regions())
    labelmap = cubes()
    labelmap[0, 0, :5] = 1
    paint(node, by_name(node, "edema"), labelmap == 1, volume)
    (tmp_path / "sets").mkdir()
    case = carried_out(training_job(node, tmp_path / "sets"))["case"]
    written = sitk.ReadImage(str(Path(case["folder"], "labelsTr", f"{case['name']}.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(written), labelmap)


def test_all_regions_are_shown_at_first(node):
    assert len(shown_regions(node)) == 2
