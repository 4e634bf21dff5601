"""A whole head: the panel tells that both sides are found, shows their boxes, and uses moved ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import choose, segment, set_option, table
from fixtures.scene.volume_nodes import add_volume
from mednext.errors import OptionError
from mednext.model.location import Location, Place
from MedNeXtSegmentationLib.scene.export.training_job import training_job
from MedNeXtSegmentationLib.scene.result_record import provenance_of
from MedNeXtSegmentationLib.scene.side_boxes import boxes_of, show_boxes

PLACES = (
    Place("left", (-27.0, -22.0, -11.0), (24.0, 28.0, 26.0)),
    Place("right", (27.0, -22.0, -11.0), (24.0, 28.0, 26.0)),
)


@pytest.fixture
def paired(models: Path, ready: Any) -> Any:
    """The panel with a model that finds both sides of a structure."""
    location = Location("icbm152", "spleen", PLACES, (0.0, 100.0))
    if not (models / "paired").exists():
        tiny_bundle(models / "paired", field_of_view=(26.0, 28.0, 24.0), location=location)
    ready.panel.listTasks()
    choose(ready, "paired")
    set_option(ready.ui.deviceBox, "cpu")
    ready.ui.mirroringBox.checked = False
    return ready


@pytest.fixture
def whole(scene: Any, paired: Any) -> Any:
    """The panel with a volume that is much larger than the model's training images."""
    voxels = np.random.default_rng(0).normal(100, 20, (36, 40, 70)).astype(np.float32)
    node = add_volume(scene, voxels)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    ras[0, 3] = 35.0
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ras))
    paired.panel._onChannel(0, node)
    return node


def give_boxes(volume: Any) -> dict[str, Any]:
    """Boxes as a run before has left them."""
    result = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    result.AddNodeReferenceID("MedNeXtSegmentation.image", volume.GetID())
    result.SetAttribute("MedNeXtSegmentation.box_left_ras_mm", "-30.0 -36.0 4.0 -6.0 -8.0 30.0")
    result.SetAttribute("MedNeXtSegmentation.box_right_ras_mm", "6.0 -36.0 4.0 30.0 -8.0 30.0")
    boxes = show_boxes(result, "spleen")
    slicer.mrmlScene.RemoveNode(result)
    return boxes


def test_a_crop_is_segmented_as_a_whole(scene: Any, paired: Any) -> None:
    paired.panel._onChannel(0, add_volume(scene, np.ones((26, 28, 24), np.float32)))
    assert paired.ui.roiSelector.noneDisplay == "Whole image"
    assert not paired.ui.boxesLabel.visible


def test_a_whole_head_is_searched_by_itself(paired: Any, whole: Any) -> None:
    assert paired.ui.roiSelector.noneDisplay == "Find automatically"
    assert "left and the right spleen are found first" in paired.ui.boxesLabel.text
    assert not paired.ui.findAgainButton.visible
    assert "expect structures in wrong places" not in paired.ui.warningLabel.text


def test_a_chosen_region_is_segmented_as_ever(paired: Any, whole: Any) -> None:
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetSize(24, 28, 26)
    paired.panel.parameters.roi = roi
    assert not paired.ui.boxesLabel.visible


def test_boxes_lie_where_the_result_was_found(paired: Any, whole: Any) -> None:
    boxes = give_boxes(whole)
    assert boxes == boxes_of(whole)
    assert tuple(boxes["left"].GetCenter()) == (-18.0, -22.0, 17.0)
    assert tuple(boxes["right"].GetSize()) == (24.0, 28.0, 26.0)
    assert boxes["left"].GetName() == "left spleen box"


def test_moved_boxes_are_used_and_shown_and_can_be_found_again(paired: Any, whole: Any) -> None:
    boxes = give_boxes(whole)
    paired.panel._update()
    assert "move it in the views" in paired.ui.boxesLabel.text
    boxes["left"].SetCenter(-17.0, -22.0, 17.0)
    assert "boxes were moved" in paired.ui.boxesLabel.text

    result = segment(paired)

    words = provenance_of(result)
    assert words["box_left_ras_mm"] == "-29.0 -36.0 4.0 -5.0 -8.0 30.0"
    names = [name for name, _ in table(paired)]
    assert names[:4] == ["left spleen", "left liver", "right spleen", "right liver"]
    assert names[4] == "Left - right, of the mean"
    assert table(paired)[4][1].endswith("%")
    assert "move it in the views" in paired.ui.boxesLabel.text  # they are the found ones now

    boxes["right"].SetCenter(19.0, -22.0, 17.0)
    paired.ui.findAgainButton.click()
    assert boxes_of(whole) == {}
    assert "are found first" in paired.ui.boxesLabel.text


def test_boxes_can_be_placed_by_hand_where_none_were_found(paired: Any, whole: Any) -> None:
    paired.ui.placeBoxesButton.click()
    boxes = boxes_of(whole)
    left, right = (np.array(boxes[side].GetCenter()) for side in ("left", "right"))
    assert tuple(boxes["left"].GetSize()) == (24.0, 28.0, 26.0)
    assert right[0] - left[0] == 54.0  # RAS: right is positive
    np.testing.assert_allclose((left + right) / 2, (0.5, -19.5, 17.5), atol=0.6)
    assert not paired.ui.placeBoxesButton.visible
    assert not paired.ui.findAgainButton.visible, "they are searched until one is moved"

    boxes["left"].SetCenter(-18.0, -22.0, 17.0)
    boxes["right"].SetCenter(18.0, -22.0, 17.0)
    assert provenance_of(segment(paired))["box_left_ras_mm"] == "-30.0 -36.0 4.0 -6.0 -8.0 30.0"


def test_a_result_of_both_sides_is_no_training_case_of_a_model_of_crops(
    paired: Any, whole: Any, tmp_path: Path
) -> None:
    give_boxes(whole)["left"].SetCenter(-17.0, -22.0, 17.0)
    with pytest.raises(OptionError, match="crop the image around a side"):
        training_job(segment(paired), tmp_path)
