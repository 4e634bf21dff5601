"""Volumes as the world has them: placed anyhow, of odd sizes and names; through the logic and the panel."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import segment, segmentations, selector
from fixtures.scene.volume_nodes import add_linear_transform, add_volume, head, rotation_about_s, translation
from mednext.errors import UnsupportedImageError
from vtk.util.numpy_support import vtk_to_numpy

VOXELS = head((24, 36, 20))
NAMES = [
    "a/b\\c \"quoted\" 'single' <b>bold</b> & more",
    "头颅 磁共振",
    "Schädel Übersicht größer",
    "\N{BRAIN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE}",
    "line\nbreak\ttab",
    "%s {name} $HOME",
    "x" * 400,
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model that takes voxels as they are, so that their spacing changes nothing."""
    folder = tmp_path_factory.mktemp("models") / "plain"
    return str(tiny_bundle(folder, spacing=None, mirror_axes=()).path)


@pytest.fixture
def label_points(scene, logic, plain):
    """Where the labels of the same voxels lie under identity geometry, in mm RAS: the oracle, sorted."""
    volume = add_volume(scene, VOXELS, np.eye(4))
    node = logic.segment(volume, plain, device="cpu")
    return [points_of(node, number) for number in range(2)]


def points_of(node, number):
    """The centres `(n, 3)` of a segment's voxels in the world, from the segmentation's own labelmap."""
    segmentation = node.GetSegmentation()
    segment_id = segmentation.GetNthSegmentID(number)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    i, _, j, _, k, _ = image.GetExtent()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    indices = np.argwhere(voxels.reshape(tuple(reversed(image.GetDimensions()))))[:, ::-1] + (i, j, k)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    world = slicer.util.arrayFromVTKMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent:
        parent.GetMatrixTransformToWorld(matrix)
        world = slicer.util.arrayFromVTKMatrix(matrix) @ world
    return indices @ world[:3, :3].T + world[:3, 3]


def in_order(points):
    return points[np.lexsort(np.round(points, 3).T)]


def stored(order, flips):
    """The voxels with axes `(k, j, i)` in another order and direction, and the matrix that undoes it."""
    array = VOXELS.transpose(order)
    affine = np.eye(4)
    # Column n of an IJK matrix belongs to axis 2 - n of the array.
    affine[:3, :3] = np.eye(3)[:, [2 - order[2 - column] for column in range(3)]]
    for axis in flips:
        array = np.flip(array, axis)
        column = 2 - axis
        affine[:3, 3] += affine[:3, column] * (array.shape[axis] - 1)
        affine[:3, column] *= -1
    return np.ascontiguousarray(array), affine


OBLIQUE = translation(31, -12.5, 4.25) @ rotation_about_s(25) @ np.diag([0.9, 0.9, 0.9, 1])
PLACES = {
    "oblique": ((0, 1, 2), (), OBLIQUE, None),
    "flipped": ((0, 1, 2), (0, 1, 2), np.eye(4), None),
    "left-handed": ((0, 1, 2), (2,), np.eye(4), None),
    "sagittal, oblique, left-handed": ((2, 0, 1), (1,), OBLIQUE, None),
    "coronal under a transform": ((1, 0, 2), (0,), np.eye(4), OBLIQUE),
    "huge voxels": ((0, 1, 2), (), np.diag([60.0, 60.0, 60.0, 1]), None),
    "tiny voxels, far away": (
        (0, 1, 2),
        (2,),
        translation(9000, -9000, 4000) @ np.diag([0.05, 0.05, 0.05, 1]),
        None,
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_labels_lie_where_the_same_voxels_have_them_moved_by_the_matrix(
    scene, logic, plain, label_points, place
):
    order, flips, moved, parent = PLACES[place]
    array, affine = stored(order, flips)
    volume = add_volume(scene, array, moved @ affine)
    if parent is not None:
        volume.SetAndObserveTransformNodeID(add_linear_transform(scene, parent).GetID())
    node = logic.segment(volume, plain, device="cpu")
    whole = (np.eye(4) if parent is None else parent) @ moved
    for number in range(2):
        expected = label_points[number] @ whole[:3, :3].T + whole[:3, 3]
        assert len(expected) > 100
        found = points_of(node, number)
        assert found.shape == expected.shape
        np.testing.assert_allclose(in_order(found), in_order(expected), atol=1e-2)


def test_a_volume_one_voxel_thick_is_refused_in_panel_and_logic(ready, scene, plain):
    for shape in ((1, 36, 20), (24, 1, 20), (24, 36, 1), (1, 1, 1)):
        volume = add_volume(scene, head(shape), name=f"slice of {shape}")
        selector(ready, 0).setCurrentNode(volume)
        assert f'"slice of {shape}" is a flat image' in ready.ui.problemLabel.text
        assert not ready.ui.segmentButton.enabled
        with pytest.raises(UnsupportedImageError, match="is a flat image"):
            ready.logic.segment(volume, plain, device="cpu")


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 90, 3)])
def test_a_volume_of_a_few_voxels_is_segmented(scene, logic, plain, shape):
    volume = add_volume(scene, np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    node = logic.segment(volume, plain, device="cpu")
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_nodes_that_are_no_images_cannot_be_chosen_and_are_refused_by_the_logic(ready, scene, plain):
    for kind, shape in (("LabelMap", (9, 9, 9)), ("Vector", (9, 9, 9, 3))):
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", kind)
        slicer.util.updateVolumeFromArray(node, np.ones(shape, np.uint8))
        assert node not in ready.panel.selectors.volumes()
        with pytest.raises(UnsupportedImageError, match=f'"{kind}"'):
            ready.logic.segment(node, plain)
    assert not segmentations()


def test_a_scalar_volume_with_several_numbers_per_voxel_is_a_problem_in_the_panel(ready, scene):
    image = vtk.vtkImageData()
    image.SetDimensions(9, 9, 9)
    image.AllocateScalars(vtk.VTK_SHORT, 4)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "4D")
    node.SetAndObserveImageData(image)
    selector(ready, 0).setCurrentNode(node)
    assert '"4D" has 4 numbers per voxel' in ready.ui.problemLabel.text
    assert not ready.ui.segmentButton.enabled


def test_any_name_goes_through_panel_run_and_result(ready, scene):
    for name in NAMES:
        volume = add_volume(scene, head(), name=name)
        selector(ready, 0).setCurrentNode(volume)
        node = segment(ready)
        assert node.GetName() == f"{name} segmentation"
        assert ready.ui.resultGroup.visible
