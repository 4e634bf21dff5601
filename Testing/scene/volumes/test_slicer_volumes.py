"""Volume nodes and regions of the scene as the engine gets them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    add_warp,
    head,
    rotation_about_s,
    translation,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mednext.errors import ChannelError, GeometryError, InputError, UnsupportedImageError
from mednext.images.volume import Volume, combine_channels, read_volume
from MedNeXtSegmentationLib.scene.volumes.channels_from_nodes import channels_from_nodes
from MedNeXtSegmentationLib.scene.volumes.roi_from_node import roi_from_node

angles = st.floats(-180, 180)


def rotation(degrees_s: float, degrees_r: float) -> np.ndarray:
    about_r = rotation_about_s(degrees_r)[np.ix_([2, 0, 1, 3], [2, 0, 1, 3])]
    return rotation_about_s(degrees_s) @ about_r


def test_a_node_gives_the_voxels_and_the_place_of_its_file(scene, tmp_path):
    node = add_volume(scene, head(), OBLIQUE_LEFT_HANDED)
    file = tmp_path / "T1 é.nrrd"
    assert slicer.util.saveNode(node, str(file), properties={})
    read = read_volume(file)
    (channel,) = channels_from_nodes([node])
    assert np.array_equal(channel.array, read.array[0])
    assert channel.geometry.close_to(read.geometry, 1e-6)


@pytest.mark.real_data
def test_a_real_ct_has_the_same_voxels_and_place_as_its_file(scene, real_data):
    file = real_data / "abdomen_ct" / "ct.nii.gz"
    node = slicer.util.loadVolume(str(file))
    read = read_volume(file)
    (channel,) = channels_from_nodes([node])
    assert np.array_equal(channel.array, read.array[0])
    assert channel.geometry.close_to(read.geometry, 1e-6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(angles, angles, st.tuples(*[st.floats(0.2, 5)] * 3), st.booleans(), st.permutations(range(3)))
def test_any_rotation_spacing_axis_order_and_handedness_is_kept(scene, s, r, spacing, flip, order):
    matrix = rotation(s, r) @ np.diag([*spacing, 1.0])
    matrix[:3, :3] = matrix[:3, list(order)]
    matrix[:3, 0] *= -1 if flip else 1
    matrix[:3, 3] = 10, -20, 30
    (channel,) = channels_from_nodes([add_volume(scene, np.zeros((2, 3, 4), np.int16), matrix)])
    assert np.allclose(channel.geometry.ijk_to_ras, matrix)
    assert channel.geometry.size == (4, 3, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_voxel_type_travels_as_it_is(scene, dtype):
    (channel,) = channels_from_nodes([add_volume(scene, head().astype(dtype))])
    assert channel.array.dtype == dtype


def test_the_name_of_a_node_may_have_any_characters(scene):
    name = 'MR/T1 "后" 🧠'
    (channel,) = channels_from_nodes([add_volume(scene, head(), name=name)])
    assert channel.name == name


def test_the_parent_transform_of_a_single_volume_does_not_change_the_input(scene):
    node = add_volume(scene, head(), OBLIQUE_LEFT_HANDED)
    (before,) = channels_from_nodes([node])
    node.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    (after,) = channels_from_nodes([node])
    assert after.geometry == before.geometry


def test_a_channel_lies_where_the_scene_shows_it_relative_to_the_first(scene):
    first, second = add_volume(scene, head(), name="T1"), add_volume(scene, head(), name="T2")
    first.SetAndObserveTransformNodeID(add_linear_transform(scene, rotation_about_s(90)).GetID())
    second.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(0, 5, 0)).GetID())
    channels = channels_from_nodes([first, second])
    expected = np.linalg.inv(rotation_about_s(90)) @ translation(0, 5, 0)
    assert np.allclose(channels[0].geometry.ijk_to_ras, np.eye(4))
    assert np.allclose(channels[1].geometry.ijk_to_ras, expected)


def test_a_nested_transform_counts_with_all_its_parents(scene):
    outer = add_linear_transform(scene, translation(0, 0, 7))
    inner = add_linear_transform(scene, translation(3, 0, 0))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    first, second = add_volume(scene, head(), name="T1"), add_volume(scene, head(), name="T2")
    second.SetAndObserveTransformNodeID(inner.GetID())
    channels = channels_from_nodes([first, second])
    assert channels[1].geometry.ijk_to_ras[:3, 3] == pytest.approx([3, 0, 7])


def test_a_registered_channel_is_resampled_onto_the_first_by_its_transform(scene):
    voxels = head((24, 36, 20))
    first = add_volume(scene, voxels, name="T1")
    shifted = add_volume(scene, np.roll(voxels, 4, axis=2), name="T2")
    shifted.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(-4, 0, 0)).GetID())
    volumes = [Volume(c.array[np.newaxis], c.geometry) for c in channels_from_nodes([first, shifted])]
    volume = combine_channels(volumes)
    assert np.allclose(volume.array[1, :, :, :-4], volume.array[0, :, :, :-4], atol=1e-3)


def test_channels_under_the_same_warp_stay_together(scene):
    warp = add_warp(scene)
    nodes = [add_volume(scene, head(), name=name) for name in ("T1", "T2")]
    for node in nodes:
        node.SetAndObserveTransformNodeID(warp.GetID())
    first, second = channels_from_nodes(nodes)
    assert first.geometry == second.geometry


def test_a_warp_between_two_channels_is_refused(scene):
    first, second = add_volume(scene, head(), name="T1"), add_volume(scene, head(), name="T2")
    second.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(GeometryError, match='non-linear transform between "T1" and "T2"'):
        channels_from_nodes([first, second])


def test_a_shearing_transform_between_two_channels_is_refused_with_the_name(scene):
    shear = np.eye(4)
    shear[0, 1] = 0.5
    first, second = add_volume(scene, head(), name="T1"), add_volume(scene, head(), name="T2")
    second.SetAndObserveTransformNodeID(add_linear_transform(scene, shear).GetID())
    with pytest.raises(GeometryError, match='"T2"'):
        channels_from_nodes([first, second])


def test_the_same_volume_for_two_channels_is_refused(scene):
    node = add_volume(scene, head())
    with pytest.raises(ChannelError, match="same volume"):
        channels_from_nodes([node, node])


@pytest.mark.parametrize("nodes", [[], [None]])
def test_no_volume_is_refused(scene, nodes):
    with pytest.raises(InputError, match="No volume"):
        channels_from_nodes(nodes)


@pytest.mark.parametrize(
    ("node_class", "error", "message"),
    [
        ("vtkMRMLScalarVolumeNode", InputError, "has no voxels"),
        ("vtkMRMLLabelMapVolumeNode", UnsupportedImageError, "is a label map"),
        ("vtkMRMLSequenceNode", InputError, "is a sequence"),
        ("vtkMRMLModelNode", InputError, "is a Model, not a volume"),
    ],
)
def test_nodes_that_are_no_images_are_refused_by_name(scene, node_class, error, message):
    node = scene.AddNewNodeByClass(node_class, "Something")
    with pytest.raises(error, match=f'"Something" {message}'):
        channels_from_nodes([node])


def test_voxels_that_are_not_counted_from_0_are_refused_until_slicer_counts_them_anew(scene):
    whole = add_volume(scene, head(), translation(10, 20, 30), name="whole")
    cut = vtk.vtkExtractVOI()
    cut.SetInputData(whole.GetImageData())
    cut.SetVOI(4, 15, 3, 13, 2, 11)
    cut.Update()
    node = add_volume(scene, head(), translation(10, 20, 30), name="cut")
    node.SetAndObserveImageData(cut.GetOutput())
    with pytest.raises(UnsupportedImageError, match=r'"cut" are counted from \(4, 3, 2\)'):
        channels_from_nodes([node])
    node.ShiftImageDataExtentToZeroStart()
    assert channels_from_nodes([node])[0].geometry.origin == (-14, -23, 32)


def test_a_colour_volume_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 5, 6, 3), np.uint8))
    with pytest.raises(UnsupportedImageError, match="3 numbers per voxel"):
        channels_from_nodes([node])


def add_roi(scene, centre, size):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenter(*centre)
    roi.SetSize(*size)
    return roi


def test_a_region_is_a_box_in_ras(scene):
    volume = add_volume(scene, head(), OBLIQUE_LEFT_HANDED)
    roi = roi_from_node(add_roi(scene, (10, 20, 30), (4, 6, 8)), volume)
    assert roi.lower == pytest.approx((8, 17, 26))
    assert roi.upper == pytest.approx((12, 23, 34))


def test_a_region_follows_the_transforms_of_region_and_volume(scene):
    volume, roi = add_volume(scene, head()), add_roi(scene, (10, 0, 0), (4, 6, 8))
    volume.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(100, 0, 0)).GetID())
    roi.SetAndObserveTransformNodeID(add_linear_transform(scene, rotation_about_s(90)).GetID())
    box = roi_from_node(roi, volume)
    assert box.lower == pytest.approx((-103, 8, -4))
    assert box.upper == pytest.approx((-97, 12, 4))


def test_a_region_without_extent_is_refused(scene):
    with pytest.raises(GeometryError, match="no extent"):
        roi_from_node(add_roi(scene, (0, 0, 0), (0, 5, 5)), add_volume(scene, head()))
