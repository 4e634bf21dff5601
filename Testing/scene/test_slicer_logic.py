"""Segmenting volume nodes through the module's logic, with the engine in a process of its own."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import pytest
import slicer
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_regions
from fixtures.scene.segmentation_nodes import labelmap_of
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    add_warp,
    head,
    translation,
)
from mednext import read_volume, segment
from mednext.errors import ChannelError, GeometryError, UnknownModelError, UnsupportedImageError
from mednext.model.description import Channel
from MedNeXtSegmentationLib.scene.result_record import volumes_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny_two_channels(tmp_path_factory):
    network = replace(TINY_NETWORK, in_channels=2)
    channels = (Channel("T1", "MR", "zscore"), Channel("T2", "MR", "zscore"))
    return tiny_bundle(tmp_path_factory.mktemp("models") / "two", network=network, channels=channels)


def test_a_volume_becomes_a_segmentation_in_its_place(scene, logic, tiny):
    volume = add_volume(scene, head(), OBLIQUE_LEFT_HANDED, "T1")
    volume.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(5, 6, 7)).GetID())
    node = logic.segment(volume, tiny.path)
    segmentation = node.GetSegmentation()
    assert node.GetName() == "T1 segmentation"
    assert [segmentation.GetNthSegment(n).GetName() for n in range(2)] == ["spleen", "liver"]
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert node.GetAttribute("MedNeXtSegmentation.model") == "tiny"
    assert len(node.GetAttribute("MedNeXtSegmentation.fold_0_sha256")) == 64


def test_a_model_of_regions_gives_overlapping_segments_and_their_volumes(scene, logic, tmp_path):
    bundle = tiny_bundle(tmp_path / "brats", mirror_axes=(), **tiny_regions())
    volume = add_volume(scene, head(), OBLIQUE_LEFT_HANDED)
    node = logic.segment(volume, bundle.path, device="cpu")
    segmentation = node.GetSegmentation()
    sizes = {
        segmentation.GetSegment(each).GetName(): np.count_nonzero(
            slicer.util.arrayFromSegmentBinaryLabelmap(node, each, volume)
        )
        for each in segmentation.GetSegmentIDs()
    }
    assert list(sizes) == ["whole tumor", "tumor core", "edema", "necrosis", "enhancing tumor"]
    assert sizes["tumor core"] == sizes["necrosis"] + sizes["enhancing tumor"] > 0
    assert sizes["whole tumor"] == sizes["edema"] + sizes["tumor core"]
    voxel_ml = np.prod(volume.GetSpacing()) / 1000
    found = volumes_of(node)
    assert {name: found[name] for name in sizes} == pytest.approx(
        {name: size * voxel_ml for name, size in sizes.items()}
    )
    core = logic.segment(volume, bundle.path, device="cpu", labels=["tumor core"]).GetSegmentation()
    names = [core.GetSegment(each).GetName() for each in core.GetSegmentIDs()]
    assert names == ["tumor core", "necrosis", "enhancing tumor"]


def test_the_voxels_are_those_that_the_engine_finds_in_the_file(scene, logic, tiny, tmp_path):
    volume = add_volume(scene, head(), OBLIQUE_LEFT_HANDED)
    slicer.util.saveNode(volume, str(tmp_path / "T1.nrrd"), properties={})
    expected = segment(read_volume(tmp_path / "T1.nrrd"), tiny, device="cpu").labelmap
    found = labelmap_of(logic.segment(volume, tiny.path, device="cpu"), volume)
    assert np.array_equal(found, expected)
    assert set(np.unique(found)) == {0, 1, 2}


@pytest.mark.real_data
def test_the_command_line_gives_the_same_voxels_in_the_same_place(scene, logic, tiny, real_data, tmp_path):
    file = next((real_data / "hippocampus" / "images").glob("*.nii.gz"))
    volume = slicer.util.loadVolume(str(file))
    found = logic.segment(volume, tiny.path, device="cpu", mirroring=False)
    output = tmp_path / "result.seg.nrrd"
    command_line("segment", file, "--model", tiny.path, "--output", output, "--device", "cpu", "--no-mirror")
    expected = slicer.util.loadSegmentation(str(output))
    assert np.array_equal(labelmap_of(found, volume), labelmap_of(expected, volume))
    assert segments_of(found) == segments_of(expected)


def command_line(*arguments):
    from mednext.cli import main

    assert main([str(argument) for argument in arguments]) == 0


def segments_of(node):
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    return [
        (s.GetName(), s.GetLabelValue(), s.GetTerminology(), np.round(s.GetColor(), 3).tolist())
        for s in segments
    ]


def test_several_channels_are_brought_onto_the_first(scene, logic, tiny_two_channels, tmp_path):
    t1, t2 = add_volume(scene, head(), name="T1"), add_volume(scene, head(seed=1), name="T2")
    t2.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(2, 0, 0)).GetID())
    found = labelmap_of(logic.segment([t1, t2], tiny_two_channels.path, device="cpu"), t1)
    t2.HardenTransform()
    volumes = []
    for node in (t1, t2):
        slicer.util.saveNode(node, str(tmp_path / f"{node.GetName()}.nrrd"), properties={})
        volumes.append(read_volume(tmp_path / f"{node.GetName()}.nrrd"))
    assert np.array_equal(found, segment(volumes, tiny_two_channels, device="cpu").labelmap)


def test_a_region_limits_the_work(scene, logic, tiny):
    volume = add_volume(scene, head())
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(10, 10, 10)
    roi.SetSize(8, 8, 8)
    found = labelmap_of(logic.segment(volume, tiny.path, roiNode=roi), volume)
    assert found[6:15, 6:15, 6:15].any()
    found[6:15, 6:15, 6:15] = 0
    assert not found.any()


def test_progress_is_told_in_stages(scene, logic, tiny):
    events = []
    logic.segment(add_volume(scene, head()), tiny.path, progressCallback=events.append)
    stages = list(dict.fromkeys(event["stage"] for event in events))
    cold = ("starting", "loading")  # stages that a warm worker skips
    warm = [stage for stage in stages if stage not in cold]
    assert warm == ["sending", "reading", "preprocessing", "network", "postprocessing"]
    tiles = [event for event in events if event["stage"] == "network"]
    assert tiles[-1]["done"] == tiles[-1]["total"]


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_refused_run_leaves_scene_and_disk_as_they_were(scene, logic, tiny, temporary_folder):
    volume = add_volume(scene, np.full((8, 8, 8), 7, np.int16))
    nodes = scene.GetNumberOfNodes()
    with pytest.raises(UnsupportedImageError):
        logic.segment(volume, tiny.path)
    assert scene.GetNumberOfNodes() == nodes
    assert not any(temporary_folder.iterdir())


def test_an_exception_in_the_callback_ends_the_run_at_once(scene, logic, tiny, temporary_folder):
    def interrupt(_event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.segment(add_volume(scene, head()), tiny.path, progressCallback=interrupt)
    assert not any(temporary_folder.iterdir())


def test_too_few_channels_are_refused_with_the_names_of_all(scene, logic, tiny_two_channels):
    with pytest.raises(ChannelError, match="T1, T2"):
        logic.segment(add_volume(scene, head()), tiny_two_channels.path)


def test_an_unknown_model_is_refused(scene, logic):
    with pytest.raises(UnknownModelError, match="no such thing"):
        logic.segment(add_volume(scene, head()), "no such thing")


def test_channels_that_a_warp_separates_are_refused_before_anything_starts(scene, logic, tiny_two_channels):
    t1, t2 = add_volume(scene, head(), name="T1"), add_volume(scene, head(), name="T2")
    t2.SetAndObserveTransformNodeID(add_warp(scene).GetID())
    with pytest.raises(GeometryError, match="non-linear"):
        logic.segment([t1, t2], tiny_two_channels.path)
