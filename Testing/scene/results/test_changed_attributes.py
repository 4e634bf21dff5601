"""A scene of somebody else, in which a person or another program changed attributes and tags of a result."""

from __future__ import annotations

import pytest
from fixtures.scene.segmentation_nodes import SHAPE, blocks, new_segmentation
from fixtures.scene.volume_nodes import add_volume, head
from mednext.errors import OptionError
from mednext.model.location import Location, Place
from mednext.segmentation.formats.segment_tags import LABELS_TAG, VALUE_TAG
from MedNeXtSegmentationLib.scene.result_record import volumes_of
from MedNeXtSegmentationLib.scene.results.uncertainty_node import places_of
from MedNeXtSegmentationLib.scene.segments.model_segments import set_region, structure_of
from MedNeXtSegmentationLib.scene.segments.segmented_region import segmented_region
from MedNeXtSegmentationLib.scene.side_boxes import moved_boxes, place_boxes, show_boxes

PREFIX = "MedNeXtSegmentation."
LONG = "9" * 400
TEXTS = (
    *("x", "1 2", "nan " * 6, "6 5 4 3 2 1", "[" * 5000, "9" * 5000, "70000", "null", "3", "[null]", "[{}]"),
    *("[[1, 2]]", '[["1", "2", "3"]]', '[[1e999, 0, 0, "liver"]]', f"[[{LONG}, 0, 0]]", '{"liver": [1]}'),
    *(f'{{"liver": {LONG}}}', '{"liver": NaN}', '{"liver": "1"}', "0 99 0 1 0 1 of 8 8 8"),
)
PLACES = tuple(Place(side, (x, 0.0, 0.0), (4.0, 4.0, 4.0)) for side, x in (("left", -6.0), ("right", 6.0)))


@pytest.fixture
def volume(scene):
    return add_volume(scene, head(SHAPE))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_a_changed_attribute_tells_nothing_and_stops_nothing(text, volume, scene):
    node = new_segmentation(volume, blocks(0))
    for attribute in ("volumes_ml", "box_left_ras_mm", "box_right_ras_mm"):
        node.SetAttribute(PREFIX + attribute, text)
    volume.SetAttribute(f"{PREFIX}places_ras_mm", text)
    assert volumes_of(node) == {}
    assert places_of(volume) == []
    assert show_boxes(node, "liver") == {}
    boxes = place_boxes(volume, Location("icbm152", "liver", PLACES, (0.0, 100.0)))
    assert moved_boxes(volume) == {}
    boxes["left"].SetAttribute(f"{PREFIX}found_ras_mm", text)
    assert moved_boxes(volume) == boxes


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_a_changed_tag_names_no_label_and_no_region(text, volume):
    segmentation = new_segmentation(volume, blocks(0)).GetSegmentation()
    segment = segmentation.GetSegment(segmentation.GetSegmentIDs()[0])
    for tag in (LABELS_TAG, VALUE_TAG):
        segment.SetTag(tag, text)
    assert structure_of(segment) in (None, (3,), (1, 2), (6, 5, 4, 3, 2, 1))


@pytest.mark.parametrize("text", [*TEXTS, "2 1 0 7 0 7 of {shape}", "0 99 0 7 0 7 of {shape}"])
def test_a_changed_tag_is_no_region_of_a_training_case(text, volume):
    node = new_segmentation(volume, blocks(0))
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        set_region(segmentation.GetSegment(segment_id), text.replace("{shape}", " ".join(map(str, SHAPE))))
    with pytest.raises(OptionError, match="segment it again"):
        segmented_region(node, "tiny", volume)
