"""A result comes into a segmentation on another grid, under transforms or of a region, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fixtures.scene.segmentation_nodes import (
    LABELS,
    SHAPE,
    blocks,
    by_name,
    new_segmentation,
    paint,
    result,
    segment_into,
    voxels,
)
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    head,
    rotation_about_s,
    translation,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mednext.images.geometry import Roi
from MedNeXtSegmentationLib.scene.segments.segment_history import undo


def test_an_empty_segmentation_gets_the_grid_of_the_volume(scene):
    volume = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segment_into(node, volume, blocks(0))
    assert np.array_equal(voxels(node, by_name(node, "spleen"), volume), blocks(0) == 1)
    reference = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    extent = node.GetSegmentation().GetConversionParameter(reference).split(";")[16:22]
    assert extent == ["0", "15", "0", "13", "0", "11"]


def test_a_part_of_the_same_grid_is_taken_voxel_by_voxel_and_the_grid_grows(scene):
    whole = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED, name="whole")
    corner = OBLIQUE_LEFT_HANDED @ translation(4, 3, 2)
    crop = add_volume(scene, head((6, 6, 6)), corner, name="crop")
    node = new_segmentation(crop, np.zeros((6, 6, 6)))
    labelmap = blocks(4)
    segment_into(node, whole, labelmap)
    for label in LABELS:
        segment_id = by_name(node, label.name)
        assert np.array_equal(voxels(node, segment_id, whole), labelmap == label.value)
    reference = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        node.GetSegmentation().GetConversionParameter(reference), image, False
    )
    found = np.argwhere(labelmap)[:, ::-1] - (4, 3, 2)
    low, high = np.array(image.GetExtent()).reshape(3, 2).T
    assert (found.min(axis=0) >= low).all()
    assert (found.max(axis=0) <= high).all()


def test_on_another_grid_the_nearest_voxels_are_taken(scene):
    fine = add_volume(scene, head((24, 24, 24)), np.diag([1.0, 1.0, 1.0, 1.0]), name="fine")
    coarse = add_volume(scene, head((12, 12, 12)), np.diag([2.0, 2.0, 2.0, 1.0]), name="coarse")
    node = new_segmentation(fine, np.zeros((24, 24, 24)))
    labelmap = np.zeros((12, 12, 12))
    labelmap[3:6, 4:8, 2:9] = 1
    segment_into(node, coarse, labelmap)
    found = voxels(node, by_name(node, "spleen"), fine)
    assert found.sum() == labelmap.sum() * 8
    assert np.argwhere(found).mean(axis=0) == pytest.approx(2 * np.argwhere(labelmap).mean(axis=0), abs=0.51)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    shift=st.tuples(*[st.integers(-5, 5)] * 3),
)
def test_on_a_grid_with_other_axes_no_voxel_is_lost_or_moved(scene, axes, signs, shift):
    scene.Clear(0)
    volume = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)
    turned = np.eye(4)
    turned[:3, :3] = np.eye(3)[list(axes)] * signs
    turned[:3, 3] = shift
    other = add_volume(scene, head((4, 5, 6)), OBLIQUE_LEFT_HANDED @ turned, name="other")
    node = new_segmentation(other, np.zeros((4, 5, 6)))
    labelmap = blocks(sum(shift) + 20)
    segment_into(node, volume, labelmap)
    for label in LABELS:
        assert np.array_equal(voxels(node, by_name(node, label.name), volume), labelmap == label.value)


@pytest.mark.parametrize("moved", ["volume", "segmentation", "both"])
def test_linear_parent_transforms_of_both_are_honoured(scene, moved):
    volume = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)
    node = new_segmentation(volume, np.zeros(SHAPE))
    matrix = translation(10, -5, 3) @ rotation_about_s(90)
    if moved in ("volume", "both"):
        volume.SetAndObserveTransformNodeID(add_linear_transform(scene, matrix).GetID())
    if moved in ("segmentation", "both"):
        node.SetAndObserveTransformNodeID(
            add_linear_transform(scene, translation(1, 2, 3) @ rotation_about_s(-20)).GetID()
        )
    labelmap = np.zeros(SHAPE)
    labelmap[3:9, 4:10, 5:11] = 2
    segment_into(node, volume, labelmap)
    liver = by_name(node, "liver")
    centre = np.array(node.GetSegmentCenterRAS(liver))  # in the world
    index = np.array([7.5, 6.5, 5.5, 1.0])
    expected = OBLIQUE_LEFT_HANDED @ index
    parent = volume.GetParentTransformNode()
    if parent:
        to_world = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(to_world)
        expected = slicer.util.arrayFromVTKMatrix(to_world) @ expected
    assert centre == pytest.approx(expected[:3], abs=1.3)


def test_a_run_in_a_region_leaves_the_voxels_outside_of_it(scene):
    volume = add_volume(scene, head(SHAPE), translation(10, 20, 30))
    node = new_segmentation(volume, blocks(0))
    drawn = np.zeros(SHAPE, dtype=bool)
    drawn[1:11, 1, 1] = True
    paint(node, by_name(node, "spleen"), (blocks(0) == 1) | drawn, volume)  # a correction, half in the region
    before = {name: voxels(node, by_name(node, name), volume) > 0 for name in ("spleen", "liver")}
    box = (slice(0, 6), slice(0, 14), slice(0, 9))
    found = np.zeros(SHAPE, dtype=np.uint8)
    found[box] = blocks(3)[box]
    roi = Roi((9.6, 19.6, 29.6), (18.4, 33.4, 35.4))
    segment_into(node, volume, found, roi, replace_corrected=True)
    for value, name in enumerate(before, start=1):
        expected = before[name].copy()
        expected[box] = found[box] == value
        assert np.array_equal(voxels(node, by_name(node, name), volume) > 0, expected)
    undo(node)
    for name, was in before.items():
        assert np.array_equal(voxels(node, by_name(node, name), volume) > 0, was)


def test_a_region_is_kept_on_another_grid_too(scene):
    volume = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)
    finer = add_volume(scene, head((30, 30, 30)), OBLIQUE_LEFT_HANDED @ np.diag([0.6, 0.5, 0.5, 1]))
    node = new_segmentation(finer, np.ones((30, 30, 30), dtype=np.uint8))
    geometry = result(volume, blocks(0)).geometry
    middle = geometry.ijk_to_ras @ (8, 7, 6, 1)
    roi = Roi(tuple(middle[:3] - 2), tuple(middle[:3] + 2))
    segment_into(node, volume, np.zeros(SHAPE), roi=roi)
    k, j, i = np.indices((30, 30, 30))
    nearest = np.stack([np.round(0.5 * k), np.round(0.5 * j), np.round(0.6 * i)])
    inside = np.logical_and.reduce(
        [(n >= side.start) & (n < side.stop) for n, side in zip(nearest, roi.box_in(geometry), strict=True)]
    )
    left = voxels(node, by_name(node, "spleen"), finer) > 0
    surely = (np.abs(np.stack([0.5 * k, 0.5 * j, 0.6 * i]) % 1 - 0.5) > 1e-6).all(axis=0)
    assert np.array_equal(left[surely], ~inside[surely])
    assert 0 < np.count_nonzero(inside) < inside.size
