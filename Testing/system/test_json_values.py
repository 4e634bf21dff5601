"""Objects cross a pipe as JSON values, and data of another form is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mednext.batch.case import Case
from mednext.errors import GeometryError
from mednext.system.json_values import from_json, to_json


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    path: Path
    ends: tuple[Point, Point]
    scale: float | None = None
    labels: tuple[str | int, ...] | None = None
    points: Mapping[str, Point] = field(default_factory=dict)


DRAWING = Drawing(Path("a"), (Point(1.0), Point(2.5, ("é",))), 0.5, ("liver", 3), {"left": Point(0.0)})


def test_an_object_arrives_as_it_was_sent():
    assert from_json(Drawing, json.loads(json.dumps(to_json(DRAWING)))) == DRAWING


def test_a_case_keeps_the_class_and_the_sentence_of_its_problem():
    case = Case("a", ("a.nii",), (Path("a.nii"),), "a.nii", GeometryError("It is sheared."))
    arrived = from_json(Case, json.loads(json.dumps(to_json(case))))
    assert isinstance(arrived.problem, GeometryError) and str(arrived.problem) == "It is sheared."
    assert (arrived.name, arrived.images, arrived.files) == (case.name, case.images, case.files)


@pytest.mark.parametrize(
    "change",
    [
        {"path": 3},
        {"ends": [{"x": 1.0}]},
        {"ends": [{"x": 1.0}, {"x": "1"}]},
        {"ends": [{"x": 1.0}, {}]},
        {"labels": "liver"},
        {"labels": [None]},
        {"scale": [1]},
        {"points": []},
        {"tta": True},
    ],
    ids=str,
)
def test_data_of_another_form_are_refused(change):
    with pytest.raises(ValueError, match=r"not of the form|not the fields|missing|zip"):
        from_json(Drawing, to_json(DRAWING) | change)


@pytest.mark.parametrize("data", [None, [], 3, "text", {}], ids=str)
def test_data_that_are_no_object_are_refused(data):
    with pytest.raises(ValueError, match="Drawing"):
        from_json(Drawing, data)
