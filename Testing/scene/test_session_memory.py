"""Results that leave the scene are let go, with all their voxels, also without the module's panel."""

from __future__ import annotations

import gc
import weakref

import pytest
from fixtures.models.bundles import tiny_bundle
from fixtures.scene.volume_nodes import add_volume, head


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", mirror_axes=()).path)


LEAVING = {
    "the node is deleted": lambda scene, node: scene.RemoveNode(node),
    "the scene is closed": lambda scene, node: scene.Clear(0),
}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
def test_a_result_that_leaves_the_scene_is_let_go(scene, logic, tiny, leave):
    volume = add_volume(scene, head())
    node = logic.segment(volume, tiny, device="cpu")
    logic.segment(volume, tiny, device="cpu", segmentationNode=node)  # to be undone
    segmentation = weakref.ref(node.GetSegmentation())
    assert segmentation() is not None
    leave(scene, node)
    del node
    gc.collect()
    assert segmentation() is None


def test_a_result_that_stays_keeps_its_history_when_another_one_is_deleted(scene, logic, tiny):
    volume = add_volume(scene, head())
    node, other = (logic.segment(volume, tiny, device="cpu") for _ in range(2))
    logic.segment(volume, tiny, device="cpu", segmentationNode=node)
    scene.RemoveNode(other)
    logic.undo(node)
    logic.redo(node)
