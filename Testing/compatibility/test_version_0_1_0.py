"""A scene and models that version 0.1.0 wrote open, show and segment as they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from fixtures.panel.driving import let_run, segmentations, selector, table
from fixtures.scene.segmentation_nodes import by_name, voxels
from mednext import load_bundle, read_volume, segment

FILES = Path(__file__).parent / "version_0_1_0"
REGIONS = ["edema", "necrotic core", "enhancing tumor"]


@pytest.fixture(scope="module")
def models() -> Path:
    """The models of that version, in place of the panel tests' own."""
    return FILES / "models"


@pytest.fixture
def opened(widget, scene):
    """The panel after the scene was loaded."""
    slicer.util.loadScene(str(FILES / "scene.mrb"), properties={"clear": True})
    slicer.app.processEvents()
    return widget


@pytest.fixture
def t1(opened):
    return slicer.util.getNode("T1")


def names(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]


def expected(model):
    """The labels that version 0.1.0 wrote for the volume `(Z, Y, X)`."""
    return read_volume(FILES / f"{model}.seg.nrrd", insist=True).array[0]


@pytest.mark.parametrize("model", ["tiny", "regions"])
def test_a_model_segments_as_it_did(model):
    bundle = load_bundle(str(FILES / "models" / model))
    found = segment(read_volume(FILES / "T1.nrrd"), bundle, device="cpu").labelmap
    assert np.mean(found != expected(model)) < 1e-3  # other formulations round otherwise
    assert len(np.unique(found)) == 3


def test_the_panel_shows_the_choices_that_were_saved(opened, t1):
    ui = opened.ui
    assert ui.taskBox.currentData == "regions"
    assert selector(opened, 0).currentNode() is t1
    assert (ui.deviceBox.currentText, ui.mirroringBox.checked, ui.uncertaintyBox.checked) == (
        "cpu",
        False,
        True,
    )
    assert ui.segmentButton.enabled


def test_the_panel_shows_the_result_that_was_saved(opened):
    assert opened.panel.parameters.result.GetName() == "T1 segmentation_1"
    assert [name for name, _ in table(opened)] == REGIONS
    assert opened.ui.resultGroup.visible


def test_the_scene_segments_with_one_click(opened):
    opened.ui.segmentButton.click()
    let_run(opened)
    assert not opened.ui.errorLabel.visible, opened.ui.errorLabel.text
    assert len(segmentations()) == 3
    assert set(REGIONS) <= set(names(opened.panel.parameters.result))


@pytest.mark.parametrize(("name", "model"), [("T1 segmentation", "tiny"), ("T1 segmentation_1", "regions")])
def test_a_run_into_a_saved_segmentation_changes_no_voxel_of_its_segments(opened, t1, name, model):
    """That version kept no fingerprints, so that all segments may have been corrected."""
    node = slicer.util.getNode(name)
    before = {each: voxels(node, by_name(node, each), t1) for each in names(node)}
    opened.logic.segment(t1, model, device="cpu", mirroring=False, segmentationNode=node)
    for each, mask in before.items():
        assert names(node).count(each) == 1
        assert np.array_equal(voxels(node, by_name(node, each), t1), mask)
    assert node.GetAttribute("MedNeXtSegmentation.left_alone") == ", ".join(before)
