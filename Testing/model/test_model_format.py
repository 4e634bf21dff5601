"""`model.json` is read strictly; its schema and its reader agree."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.models.bundles import tiny_bundle, tiny_model, tiny_regions
from fixtures.models.schemas import validator
from mednext.errors import BundleError, BundleFormatError, UnsafePathError
from mednext.model.bundle import Fold
from mednext.model.description import Model
from mednext.model.model_file import parse_model, read_model
from mednext.system.json_reading import Fields

SHA = "0" * 64
FOLD = Fold(0, "fold_0.safetensors", SHA)
SOFTMAX = tiny_model(folds=(FOLD,)).to_json()
REGIONS = tiny_model(folds=(FOLD,), **tiny_regions()).to_json()

DELETE = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The tiny model's JSON with the field at `path`, such as "channels/0/name", set or deleted."""
    data: Any = copy.deepcopy(SOFTMAX)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place = data
    for part in parents:
        place = place[part]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return data


def read(data: Any) -> Model:
    return parse_model(Fields(data, "model.json", BundleFormatError))


CT = {"name": "CT", "modality": "CT", "normalization": "ct", "mean": 1, "std": 2, "lower": -5, "upper": 5}
CODE = {"value": "1", "scheme": "SCT", "meaning": "x"}

PLACE = {"side": "left", "centre": [-27, -22, -11], "size": [36, 52, 40]}
LOCATION = {
    "template": "icbm152",
    "structure": "spleen",
    "places": [PLACE, {**PLACE, "side": "right"}],
    "volume_ml": [1, 6],
}

ACCEPTED: list[tuple[str, Any]] = [
    ("description", ""),
    ("title", "Größe α"),
    ("spacing", None),
    ("spacing", DELETE),
    ("spacing", [0.5, 1, 2.25]),
    ("field_of_view", [47, 59.5, 43]),
    ("field_of_view", None),
    ("skull", "removed"),
    ("skull", None),
    ("channels/0", CT),
    ("channels/0/modality", "PT"),
    ("labels/0/terminology", None),
    ("labels/0/terminology/region", CODE),
    ("labels/0/terminology/type_modifier", None),
    ("orientation", "PIR"),
    ("mirror_axes", []),
    ("keep_largest", [2]),
    ("keep_largest", DELETE),
    ("regions_class_order", DELETE),
    ("step", 1),
    ("pipeline", "nnunet_v1"),
    ("accuracy", {"source": "docs/accuracy.md", "dice": {"spleen": 0.9}}),
    ("accuracy", None),
    ("accuracy", DELETE),
    ("network/grn", DELETE),
    ("network/grn_denominator", "sum"),
    ("network", SOFTMAX["network"] | {"grn": True, "grn_first_down": True}),
    ("network/variant", DELETE),
    ("network/kernel_size", 5),
    ("network/channels", 32.0),
    ("patch", [64, 32, 16]),
    ("folds/0/file", "fold_all.safetensors"),
    ("location", None),
]

REFUSED: list[tuple[str, Any]] = [
    ("format_version", 2),
    ("format_version", "1"),
    ("format_version", True),
    ("format_version", DELETE),
    ("name", "../evil"),
    ("name", "a/b"),
    ("name", ""),
    ("name", 3),
    ("name", ".hidden"),
    ("name", "x" * 65),
    ("name", "ends with dot."),
    ("version", ""),
    ("version", 1.0),
    ("task", DELETE),
    ("title", None),
    ("description", DELETE),
    ("network", DELETE),
    ("network/grn_first_down", True),
    ("network/grn_denominator", "max"),
    ("network", []),
    ("network/variant", "XL"),
    ("network/in_channels", 0),
    ("network/in_channels", "1"),
    ("network/in_channels", 1.5),
    ("network/num_classes", 5000),
    ("network/kernel_size", 4),
    ("network/kernel_size", 9),
    ("network/expansion", [2] * 8),
    ("network/expansion", [0] + [2] * 8),
    ("network/blocks", [1] * 10),
    ("network/blocks", [1] * 8 + [1000000]),
    ("network/blocks", "111111111"),
    ("network/dimensions", 4),
    ("network/residual", 1),
    ("network/residual", "yes"),
    ("network/resampling", "bilinear"),
    ("network/deep_supervision", True),
    ("channels", []),
    ("channels", {}),
    ("channels/0", "T1"),
    ("channels/0/name", ""),
    ("channels/0/modality", "mr"),
    ("channels/0/normalization", "minmax"),
    ("channels/0", {"name": "CT", "modality": "CT", "normalization": "ct"}),
    ("channels/0/mean", 3.0),
    ("channels/0", {**CT, "std": 0}),
    ("channels/0", {**CT, "lower": "low"}),
    ("channels/0", {**CT, "extra": 1}),
    ("labels", []),
    ("labels/0/value", 0),
    ("labels/0/value", 70000),
    ("labels/0/value", True),
    ("labels/0/name", ""),
    ("labels/0/color", [1, 2]),
    ("labels/0/color", [1, 2, 256]),
    ("labels/0/color", [1, 2, -1]),
    ("labels/0/color", "red"),
    ("labels/0/terminology/category", DELETE),
    ("labels/0/terminology/type/value", "7~8"),
    ("labels/0/terminology/type/scheme", ""),
    ("labels/0/terminology/type/meaning", "a^b"),
    ("labels/0/terminology/side", CODE),
    ("labels/0/opacity", 0.5),
    ("orientation", "RAR"),
    ("orientation", "ras"),
    ("orientation", "RA"),
    ("orientation", None),
    ("spacing", [1, 1]),
    ("spacing", [1, 0, 1]),
    ("spacing", [1, 1, 1e6]),
    ("spacing", [1, 1, "1"]),
    ("field_of_view", [47, 59]),
    ("field_of_view", [0, 59, 43]),
    ("field_of_view", 60),
    ("skull", "gone"),
    ("skull", True),
    ("patch", [16, 32]),
    ("patch", [16, 32, 0]),
    ("patch", None),
    ("pipeline", "nnunet_v3"),
    ("output", "sigmoid"),
    ("mirror_axes", [3]),
    ("mirror_axes", [0, 0]),
    ("mirror_axes", "xyz"),
    ("regions_class_order", [0]),
    ("keep_largest", "all"),
    ("step", 0),
    ("step", 1.5),
    ("step", DELETE),
    ("folds", []),
    ("folds/0/index", -1),
    ("folds/0/index", 0.5),
    ("folds/0/file", "weights.bin"),
    ("folds/0/file", "../fold_0.safetensors"),
    ("folds/0/file", "/tmp/fold_0.safetensors"),
    ("folds/0/file", "C:fold_0.safetensors"),
    ("folds/0/file", "sub\\fold_0.safetensors"),
    ("folds/0/sha256", "0" * 63),
    ("folds/0/sha256", "A" * 64),
    ("folds/0/sha256", DELETE),
    ("licence", None),
    ("accuracy", {}),
    ("accuracy", 0.9),
    ("accuracy", {"source": ""}),
    ("comment", "hello"),
]


def named(cases: list[tuple[str, Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    ids = [f"{path}={'missing' if value is DELETE else json.dumps(value)[:30]}" for path, value in cases]
    return pytest.mark.parametrize(("path", "value"), cases, ids=ids)


@pytest.fixture(scope="module")
def schema() -> Any:
    return validator("model.schema.json")


@pytest.mark.parametrize("data", [SOFTMAX, REGIONS], ids=["softmax", "regions"])
def test_a_written_model_is_accepted_by_schema_and_reader(schema: Any, data: dict[str, Any]) -> None:
    schema.validate(data)
    assert read(data).to_json() == data


@named(ACCEPTED)
def test_schema_and_reader_accept_the_same(schema: Any, path: str, value: Any) -> None:
    data = changed(path, value)
    assert schema.is_valid(data)
    read(data)


@named(REFUSED)
def test_schema_and_reader_refuse_the_same_and_name_the_field(schema: Any, path: str, value: Any) -> None:
    data = changed(path, value)
    assert not schema.is_valid(data)
    field = next(part for part in reversed(path.split("/")) if not part.isdigit())
    with pytest.raises(BundleError) as caught:
        read(data)
    names_it = field.replace("_", " ") in str(caught.value).replace("_", " ")
    assert names_it or isinstance(caught.value, UnsafePathError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network/num_classes": 4}, "2 labels, but the network has 4 output channels"),
        ({"network/in_channels": 2}, "'channels' lists 1, but the network takes 2"),
        ({"labels/1/value": 1}, "'labels' has 1 twice"),
        ({"labels/1/value": 3}, r"must be 1 to 2"),
        ({"labels/1/name": "spleen"}, "'labels' has 'spleen' twice"),
        ({"labels/1/region": [1, 2]}, "'output' is 'softmax'"),
        ({"regions_class_order": [1, 2]}, "'output' is 'softmax'"),
        ({"output": "regions"}, "0 regions, but the network has 3 output channels"),
        ({"output": "regions", "labels/1/region": [1, 2]}, "every label must have one"),
        ({"keep_largest": [7]}, "'keep_largest' names label 7"),
        ({"patch": [16, 24, 32]}, r"sides are divisible by 16, not \[16, 24, 32\]"),
        ({"patch": [16, 16, 16]}, "is one voxel at the bottom"),
        ({"network/dimensions": 2}, "two-dimensional"),
        ({"channels/0": {**CT, "lower": 7}}, "'upper' must be above"),
        ({"location": LOCATION}, "'field_of_view' is missing"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleFormatError, match=message):
        read(with_changes(SOFTMAX, changes))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("location/template", "mine"),
        ("location/structure", ""),
        ("location/places", [PLACE]),
        ("location/places", [PLACE, PLACE]),
        ("location/places/0/side", "both"),
        ("location/places/0/centre", [0, 0]),
        ("location/places/0/size", [0, 1, 1]),
        ("location/volume_ml", [1]),
        ("location/more", 1),
    ],
)
def test_schema_and_reader_refuse_the_same_locations(schema: Any, path: str, value: Any) -> None:
    located = {**SOFTMAX, "field_of_view": [40.0, 50.0, 40.0], "location": LOCATION}
    schema.validate(located)
    assert read(located).to_json()["location"] == LOCATION
    data = with_changes(located, {path: value})
    assert not schema.is_valid(data)
    with pytest.raises(BundleFormatError, match="location"):
        read(data)


def test_a_location_needs_a_smaller_and_a_larger_volume() -> None:
    data = {**SOFTMAX, "field_of_view": [40, 50, 40], "location": {**LOCATION, "volume_ml": [6, 1]}}
    with pytest.raises(BundleFormatError, match="a smaller and a larger number"):
        read(data)


def with_changes(model: dict[str, Any], changes: dict[str, Any]) -> Any:
    data: Any = copy.deepcopy(model)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place = data
        for part in parents:
            place = place[part]
        place[last] = value
    return data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions_class_order": [1, 2, 2]}, "'regions_class_order' has 2 twice"),
        ({"regions_class_order": [1, 2]}, r"\[1, 2\], but must have the label of each of the 3 regions once"),
        ({"regions_class_order": [1, 3, 2]}, "'enhancing tumor' with label 2, which is not among its labels"),
        ({"labels": REGIONS["labels"][:2]}, r"are \[1, 2\], but its regions give \[1, 2, 3\]"),
        ({"regions": REGIONS["regions"][:2]}, "2 regions, but the network has 3 output channels"),
        ({"regions/1/labels": [1, 2, 3]}, r"'regions' has \(1, 2, 3\) twice"),
        ({"regions/1/name": "whole tumor"}, "'regions' has 'whole tumor' twice"),
        ({"labels/0/name": "whole tumor"}, "name of label 1 and of the region"),
    ],
)
def test_regions_and_labels_that_contradict_each_other_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleFormatError, match=message):
        read(with_changes(REGIONS, changes))


def test_a_variant_other_than_that_of_the_network_is_refused(tmp_path: Path) -> None:
    data = changed("network/variant", "S")
    with pytest.raises(BundleFormatError, match="the variant is 'S'"):
        read(data).network.build()


def test_a_two_dimensional_model_has_a_patch_of_one_plane() -> None:
    data = changed("network/dimensions", 2)
    data.update(patch=[1, 32, 32], mirror_axes=[1, 2])
    assert read(data).network.dimensions == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1, 2]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"format_version": 1, "format_version": 1}', "given twice"),
        (json.dumps({**SOFTMAX, "step": math.nan}), "NaN is not a number"),
        (json.dumps(SOFTMAX).replace('"step": 0.5', '"step": 1e999'), "'step' must be a finite number"),
        ("[" * 100_000, "not valid JSON"),
        (json.dumps({**SOFTMAX, "name": 10**400}), "'name' must be a text"),
        (json.dumps({**SOFTMAX, "title": "half \ud800"}), "'title' must be a text without half"),
    ],
)
def test_malformed_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(BundleFormatError, match=message):
        read_model(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleFormatError, match="UTF-8"):
        read_model(tmp_path)


def test_an_enormous_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate(2**25)
    with pytest.raises(BundleFormatError, match="too large"):
        read_model(tmp_path)


def test_a_folder_without_model_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"it has no model\.json"):
        read_model(tmp_path)


def test_a_model_json_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "real")
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "model.json").symlink_to(tmp_path / "real" / "model.json")
    with pytest.raises(UnsafePathError, match="outside of its folder"):
        read_model(tmp_path / "fake")
