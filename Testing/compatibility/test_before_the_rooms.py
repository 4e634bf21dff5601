"""A scene with fingerprints, written when the engine was one flat folder: corrections are recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from fixtures.scene.segmentation_nodes import by_name, voxels

FILES = Path(__file__).parent / "before_the_rooms"


@pytest.fixture(scope="module")
def models() -> Path:
    """The models of that version, in place of the panel tests' own."""
    return FILES / "models"


def segment_into(widget, name, model):
    """The segmentation of that name, its segments and the corrected liver, before and after a run into it."""
    slicer.util.loadScene(str(FILES / "scene.mrb"), properties={"clear": True})
    slicer.app.processEvents()
    node, t1 = slicer.util.getNode(name), slicer.util.getNode("T1")
    seen = []
    for run in (False, True):
        if run:
            widget.logic.segment(t1, model, device="cpu", mirroring=False, segmentationNode=node)
        segmentation = node.GetSegmentation()
        names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
        liver = voxels(node, by_name(node, "liver"), t1) if "liver" in names else None
        seen.append((names, liver))
    return node, *seen


def test_a_corrected_segment_is_left_alone(widget, scene):
    node, before, after = segment_into(widget, "T1 segmentation", "tiny")
    assert after[0] == before[0]
    assert before[1].sum() == 5 * 15 * 4
    assert np.array_equal(after[1], before[1])
    assert "liver" in node.GetAttribute("MedNeXtSegmentation.left_alone").split(", ")


def test_segments_and_regions_that_nobody_touched_are_replaced_and_not_doubled(widget, scene):
    node, before, after = segment_into(widget, "T1 segmentation_1", "regions")
    assert sorted(after[0]) == sorted(before[0])
    assert not node.GetAttribute("MedNeXtSegmentation.left_alone")
