"""Volumes, regions and segmentations under transforms that do more than move them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import slicer
from fixtures.models.bundles import tiny_bundle, tiny_model
from fixtures.panel.driving import let_run, selector
from fixtures.scene.volume_nodes import (
    add_linear_transform,
    add_volume,
    add_warp,
    head,
    rotation_about_s,
    translation,
)
from mednext.errors import GeometryError, SuspectInputError
from mednext.model.description import Channel
from MedNeXtSegmentationLib.scene.result_record import volumes_of
from MedNeXtSegmentationLib.scene.volumes.channels_from_nodes import channels_from_nodes
from MedNeXtSegmentationLib.scene.volumes.parent_transform import deformation_of
from MedNeXtSegmentationLib.scene.volumes.roi_from_node import roi_from_node

SHEAR = np.eye(4)
SHEAR[0, 1] = 0.3
SHEAR_OF_2_PERCENT = np.eye(4)
SHEAR_OF_2_PERCENT[0, 1] = 0.02
ROTATED = rotation_about_s(20) @ translation(3, 4, 5)
DEFORMATIONS = {
    "scales it by 2 × 2 × 2 (8 times its mL)": np.diag([2.0, 2, 2, 1]),
    "scales it by 1.3 × 1 × 1 (1.3 times its mL)": np.diag([1.3, 1, 1, 1]),
    "swaps its sides": np.diag([-1.0, 1, 1, 1]),
    "shears it": SHEAR,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def put_under(scene, node, *matrices):
    """Let a node be under a chain of linear transforms, of which the first one is its parent."""
    child = node
    for matrix in matrices:
        parent = add_linear_transform(scene, matrix)
        child.SetAndObserveTransformNodeID(parent.GetID())
        child = parent
    return child


def world_ml(node):
    """The volumes of the segments where the scene shows them, mL."""
    volumes = {}
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        segment = node.GetSegmentation().GetSegment(segment_id)
        image = segment.GetRepresentation("Binary labelmap")
        count = int((slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id) > 0).sum())
        to_world = np.eye(4)
        parent = node.GetParentTransformNode()
        if parent:
            matrix = slicer.util.vtkMatrixFromArray(to_world)
            parent.GetMatrixTransformToWorld(matrix)
            to_world = slicer.util.arrayFromVTKMatrix(matrix)
        scale = abs(np.linalg.det(to_world[:3, :3]))
        volumes[segment.GetName()] = count * math.prod(image.GetSpacing()) * scale / 1000
    return volumes


@pytest.mark.parametrize("words", DEFORMATIONS)
@pytest.mark.parametrize("above", [[], [ROTATED]])
def test_a_transform_that_deforms_is_told_wherever_it_stands_in_the_chain(scene, words, above):
    volume = add_volume(scene, head())
    put_under(scene, volume, DEFORMATIONS[words], *above)
    assert words in deformation_of(volume)[0]
    put_under(scene, volume, ROTATED, DEFORMATIONS[words])
    assert deformation_of(volume)[1]


def test_transforms_that_only_move_and_that_cancel_out_get_no_word(scene):
    volume = add_volume(scene, head(), np.diag([-1.0, -1, 1.5, 1]))
    assert deformation_of(volume) == ("", False)
    put_under(scene, volume, ROTATED, translation(0, 0, 100))
    assert deformation_of(volume) == ("", False)
    put_under(scene, volume, np.diag([2.0, 1, 1, 1]), np.diag([0.5, 1, 1, 1]))
    assert deformation_of(volume) == ("", False)


def test_a_transform_that_bends_is_told_wherever_it_stands_in_the_chain(scene):
    volume = add_volume(scene, head())
    outer = put_under(scene, volume, ROTATED)
    outer.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    assert deformation_of(volume) == ("is under a transform that bends it", True)


@pytest.mark.parametrize("words", DEFORMATIONS)
def test_a_deformed_volume_is_refused_unless_the_user_insists(scene, logic, tiny, words):
    volume = add_volume(scene, head())
    put_under(scene, volume, DEFORMATIONS[words])
    with pytest.raises(SuspectInputError, match="harden the transform in the module Transforms"):
        logic.segment(volume, tiny.path, device="cpu", mirroring=False)
    assert not scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    node = logic.segment(volume, tiny.path, device="cpu", mirroring=False, insist=True)
    warning = node.GetAttribute("MedNeXtSegmentation.warning")
    assert words in warning and "measures volumes (mL) there" in warning


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.diag([0.9, 0.9, 0.9, 1]), "scales it by 0.9 × 0.9 × 0.9 (0.729 times its mL)"),
        (SHEAR_OF_2_PERCENT, "shears it"),
    ],
)
def test_a_transform_like_that_of_a_registration_is_only_reported(scene, logic, tiny, matrix, words):
    volume = add_volume(scene, head())
    put_under(scene, volume, matrix)
    node = logic.segment(volume, tiny.path, device="cpu", mirroring=False)
    assert words in node.GetAttribute("MedNeXtSegmentation.warning")


def test_a_hardened_scaling_is_seen_and_measured(scene, logic, tiny):
    volume = add_volume(scene, head())
    put_under(scene, volume, np.diag([1.5, 1.5, 1.5, 1]))
    volume.HardenTransform()
    node = logic.segment(volume, tiny.path, device="cpu", mirroring=False)
    assert volumes_of(node) == pytest.approx(world_ml(node))


def test_a_bent_volume_is_refused_by_the_logic_and_in_a_batch_of_the_scene(scene, logic, tiny):
    volume = add_volume(scene, head())
    volume.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(SuspectInputError, match="is under a transform that bends it"):
        logic.segment(volume, tiny.path, device="cpu", mirroring=False)
    (result,) = logic.segmentScene(tiny.path, device="cpu", mirroring=False)
    assert (result.row.status, result.row.error) == ("failed", "SuspectInputError")
    (result,) = logic.segmentScene(tiny.path, device="cpu", mirroring=False, insist=True)
    assert result.row.status == "done" and "bends it" in result.row.warning


def test_a_channel_that_is_scaled_lies_where_the_scene_shows_it_and_is_told(scene):
    from MedNeXtSegmentationLib.panel.inputs.input_checks import checkInputs

    two = tiny_model(channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")))
    t1 = add_volume(scene, head(), name="T1")
    flair = add_volume(scene, head(seed=1), np.diag([0.5, 0.5, 0.5, 1]), name="FLAIR")
    put_under(scene, flair, np.diag([2.0, 2, 2, 1]))
    first, second = channels_from_nodes([t1, flair])
    assert second.geometry.close_to(first.geometry)
    checks = checkInputs(two, [t1, flair], None)
    assert '"FLAIR" is under a transform that scales it by 2 × 2 × 2' in checks.doubts[0]
    assert checks.doubts[0] in checks.warnings


def test_the_panel_tells_of_a_transform_as_soon_as_it_deforms_and_asks(ready, scene):
    volume = selector(ready, 0).currentNode()
    parent = put_under(scene, volume, np.eye(4))
    assert not ready.ui.warningLabel.visible and not ready.ui.insistBox.visible
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([-1.0, 1, 1, 1])))
    assert "swaps its sides" in ready.ui.warningLabel.text
    assert ready.ui.insistBox.visible
    ready.ui.segmentButton.click()
    let_run(ready)
    assert "swaps its sides" in ready.ui.errorLabel.text
    ready.ui.insistBox.checked = True
    ready.ui.segmentButton.click()
    let_run(ready)
    assert "swaps its sides" in ready.panel.parameters.result.GetAttribute("MedNeXtSegmentation.warning")


@pytest.mark.parametrize(
    "matrix", [np.diag([2.0, 1, 3, 1]), np.diag([-1.0, 1, 1, 1]), ROTATED, ROTATED @ np.diag([-2.0, 2, 2, 1])]
)
def test_a_region_under_a_linear_transform_lies_where_the_scene_shows_it(scene, matrix):
    volume = add_volume(scene, head())
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    region.SetCenter(4.0, 5.0, 6.0)
    region.SetSize(6.0, 8.0, 10.0)
    put_under(scene, region, matrix)
    shown = np.zeros(6)
    region.GetRASBounds(shown)
    found = roi_from_node(region, volume)
    assert found.lower == pytest.approx(shown[::2]) and found.upper == pytest.approx(shown[1::2])


def test_a_region_under_a_transform_that_bends_or_shears_is_refused(scene):
    volume = add_volume(scene, head())
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    region.SetSize(6.0, 8.0, 10.0)
    region.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(GeometryError, match="non-linear transform"):
        roi_from_node(region, volume)
    region.SetAndObserveTransformNodeID(None)
    volume.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(GeometryError, match="non-linear transform"):
        roi_from_node(region, volume)
    volume.SetAndObserveTransformNodeID(None)
    shear = put_under(scene, region, SHEAR)
    with pytest.raises(GeometryError, match="shears the region"):
        roi_from_node(region, volume)
    volume.SetAndObserveTransformNodeID(shear.GetID())
    assert roi_from_node(region, volume).upper == pytest.approx((3, 4, 5))


@pytest.mark.parametrize("matrix", [np.diag([0.5, 0.5, 0.5, 1]), np.diag([-1.0, 1, 1, 1]), ROTATED])
def test_a_result_in_a_segmentation_under_another_transform_has_its_place_and_its_volumes(
    scene, logic, tiny, matrix
):
    volume = add_volume(scene, head())
    plain = logic.segment(volume, tiny.path, device="cpu", mirroring=False)
    into = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    into.CreateDefaultDisplayNodes()
    put_under(scene, into, matrix)
    logic.segment(volume, tiny.path, device="cpu", mirroring=False, segmentationNode=into)
    assert volumes_of(into) == volumes_of(plain)
    assert world_ml(into) == pytest.approx(volumes_of(plain), rel=0.05)


def test_a_volume_that_is_deformed_during_the_run_gets_no_result(scene, logic, tiny):
    volume = add_volume(scene, head())
    parent = put_under(scene, volume, ROTATED)

    def deform(_event):
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([2.0, 2, 2, 1])))

    with pytest.raises(GeometryError, match="was put under a transform that deforms it"):
        logic.segment(volume, tiny.path, device="cpu", mirroring=False, progressCallback=deform)
    assert not scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
