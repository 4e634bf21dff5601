"""Voxels are read plane by plane while a run sends them, whatever a script does meanwhile."""

from __future__ import annotations

import time

import numpy as np
import pytest
import slicer
from fixtures.models.bundles import tiny_bundle
from fixtures.scene.volume_nodes import add_volume, head
from mednext.errors import InputError
from MedNeXtSegmentationLib.engine import run


@pytest.fixture
def feed_of(scene):
    """The feed of a volume node."""
    from MedNeXtSegmentationLib.scene.volumes.voxel_feed import channelsForRun

    return lambda volume: channelsForRun([volume])[0].array


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


def resize(volume):
    """VTK frees the memory of the array, which stays the array of the volume."""
    volume.GetImageData().GetPointData().GetScalars().SetNumberOfTuples(100**3)


def free(volume):
    volume.GetImageData().GetPointData().GetScalars().Initialize()


def write(volume):
    slicer.util.arrayFromVolume(volume)[:] = 0
    slicer.util.arrayFromVolumeModified(volume)


def replace_by_others(volume):
    slicer.util.updateVolumeFromArray(volume, np.zeros((9, 9, 9)))


def remove(volume):
    volume.GetScene().RemoveNode(volume)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_a_feed_gives_all_planes_in_their_own_type(scene, feed_of, dtype):
    voxels = head().astype(dtype)
    feed = feed_of(add_volume(scene, voxels))
    assert (feed.shape, feed.dtype) == (voxels.shape, voxels.dtype)
    np.testing.assert_array_equal(np.stack(list(feed)), voxels)


@pytest.mark.parametrize("change", [resize, free, write])
def test_voxels_that_a_script_changes_before_they_are_copied_end_the_run(scene, feed_of, change):
    volume = add_volume(scene, head(), name="scan")
    feed = feed_of(volume)
    planes = iter(feed)
    next(planes)
    change(volume)
    with pytest.raises(InputError, match='The voxels of "scan" were changed'):
        next(planes)


@pytest.mark.parametrize("change", [replace_by_others, remove])
def test_voxels_that_the_volume_lets_go_are_still_there_for_the_run(scene, feed_of, change):
    voxels = head()
    volume = add_volume(scene, voxels)
    feed = feed_of(volume)
    change(volume)
    np.testing.assert_array_equal(np.stack(list(feed)), voxels)


def test_a_volume_that_is_resized_while_it_is_sent_is_refused_and_the_next_run_works(
    ready, scene, tiny, monkeypatch
):
    monkeypatch.setattr(run, "STEP_S", 1e-4)  # a plane or two at a time: a fast machine copies all at once
    volume = add_volume(scene, np.tile(head((32, 32, 32)), (8, 12, 12)), name="large")
    heard = []
    running = ready.logic.segmentAsync(volume, tiny, device="cpu", onError=heard.append)
    resize(volume)
    begin = time.monotonic()
    while running.running and time.monotonic() - begin < 200:
        slicer.app.processEvents()
    assert "were changed while it was segmented" in str(heard[0])
    node = ready.logic.segment(add_volume(scene, head()), tiny, device="cpu")
    assert node.GetSegmentation().GetNumberOfSegments() == 2
