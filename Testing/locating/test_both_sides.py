"""Both sides become one segmentation: a component for each, values and names that tell the side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from fixtures.models.bundles import tiny_model
from mednext import Geometry, Roi, Segmentation
from mednext.locating.both_sides import join
from mednext.locating.plausibility import Part, part_doubts
from mednext.model.labels import Code, Terminology
from mednext.model.location import Location, Place
from mednext.model.sides import sided_labels, sided_regions, sided_structures

# The axes run to the left, posterior and up from the origin, as ITK's do.
GRID = Geometry((40, 20, 20), (1.0, 1.0, 1.0), (-20.0, 0.0, 0.0))
LEFT, RIGHT = Roi((-18.5, -18.5, 0.5), (-1.5, -1.5, 18.5)), Roi((1.5, -18.5, 0.5), (18.5, -1.5, 18.5))
BOXES = {"left": LEFT, "right": RIGHT}
MODEL = tiny_model()


def labelmap(*cubes: tuple[slice, int]) -> np.ndarray:
    """Cubes of a label along x, in the middle of y and z."""
    labels = np.zeros(GRID.shape, np.uint8)
    for along_x, value in cubes:
        labels[6:12, 6:12, along_x] = value
    return labels


def found(left: np.ndarray, right: np.ndarray) -> Mapping[str, Segmentation]:
    return {
        "left": Segmentation(left, GRID, MODEL.labels),
        "right": Segmentation(right, GRID, MODEL.labels),
    }


def test_the_patients_left_is_in_the_half_with_positive_x_of_itk():
    labels, _ = join(found(labelmap((slice(25, 30), 1)), labelmap((slice(8, 12), 2))), BOXES, MODEL)
    assert set(np.unique(labels[..., 25:30])) == {0, 3}
    assert set(np.unique(labels[..., 8:12])) == {0, 6}
    assert not labels[..., 13:25].any()


def test_of_each_side_the_largest_component_stays_whatever_labels_it_has():
    left = labelmap((slice(24, 27), 1), (slice(27, 30), 2), (slice(34, 35), 1))
    labels, parts = join(found(left, labelmap((slice(5, 7), 1))), BOXES, MODEL)
    assert set(np.unique(labels[..., 24:30])) == {0, 3, 4}
    assert not labels[..., 34].any()
    assert parts[0].share == pytest.approx(6 / 7)
    assert parts[0].volume_ml == pytest.approx(6 * 36 / 1000)


def test_where_boxes_overlap_a_voxel_belongs_to_the_nearer_middle():
    wide = {
        "left": Roi((-18.5, -18.5, 0.5), (5.5, -1.5, 18.5)),
        "right": Roi((-5.5, -18.5, 0.5), (18.5, -1.5, 18.5)),
    }
    everywhere = labelmap((slice(2, 38), 1))
    labels, _ = join(found(everywhere, everywhere), wide, MODEL)
    line = labels[8, 8]
    assert (line[3:20] == 5).all()  # right of the patient: negative x of ITK
    assert (line[20:37] == 3).all()


def test_no_value_of_a_side_is_a_value_of_the_model():
    values = {label.value for label in sided_labels(MODEL.labels)}
    assert len(values) == 4
    assert not values & {label.value for label in MODEL.labels}


def test_names_and_codes_tell_the_side():
    labels = {label.name: label.terminology for label in sided_labels(MODEL.labels)}
    assert list(labels) == ["left spleen", "left liver", "right spleen", "right liver"]
    assert labels["left spleen"].type_modifier == Code("7771000", "SCT", "Left")
    assert labels["right spleen"].type_modifier == Code("24028007", "SCT", "Right")
    assert labels["left liver"] is None


def test_a_structure_whose_modifier_is_taken_gets_its_side_as_that_of_its_region():
    front = Code("255549009", "SCT", "Anterior")
    kind = MODEL.labels[0].terminology
    model = tiny_model(
        labels=(
            MODEL.labels[0].__class__(1, "front", (1, 2, 3), Terminology(kind.category, kind.type, front)),
        )
    )
    left, right = (label.terminology for label in sided_labels(model.labels))
    assert left.type_modifier == right.type_modifier == front
    assert left.region == right.region == kind.type
    assert (left.region_modifier.meaning, right.region_modifier.meaning) == ("Left", "Right")


def test_a_wish_for_a_structure_of_the_model_means_both_sides():
    labels = sided_labels(MODEL.labels)
    regions = sided_regions((), MODEL.labels)
    assert sided_structures(["spleen", 2], labels, regions) == ["left spleen", "right spleen", 4, 6]
    assert sided_structures(["left liver", 3], labels, regions) == ["left liver", 3]


PLACES = tuple(Place(side, (0.0, 0.0, 0.0), (17.0, 17.0, 17.0)) for side in ("left", "right"))
LOCATION = Location("icbm152", "spleen", PLACES, (1.0, 6.0))


def part(side: str, **changes: float | bool) -> Part:
    usual = {"volume_ml": 3.0, "share": 1.0, "off_mm": 3.0, "at_border": False}
    return Part(side, **{**usual, **changes})


def test_plausible_parts_raise_no_doubt():
    assert part_doubts((part("left"), part("right", volume_ml=3.4)), LOCATION) == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"volume_ml": 0.0, "share": 0.0}, "No left spleen was found"),
        ({"volume_ml": 0.5}, "left spleen has 0.50 mL"),
        ({"volume_ml": 9.0}, "left spleen has 9.00 mL"),
        ({"volume_ml": 5.5}, "two sides differ much"),
        ({"off_mm": 20.0}, "20 mm off the middle"),
        ({"at_border": True}, "reaches the border"),
        ({"share": 0.5}, "Only 50% of the voxels"),
    ],
)
def test_an_implausible_part_is_told(changes, told):
    assert told in " ".join(part_doubts((part("left", **changes), part("right")), LOCATION))


def test_a_part_at_the_border_of_its_box_is_noticed():
    _, parts = join(found(labelmap((slice(30, 39), 1)), labelmap((slice(8, 12), 1))), BOXES, MODEL)
    assert [each.at_border for each in parts] == [True, False]
