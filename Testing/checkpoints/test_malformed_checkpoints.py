"""Results folders and bundles with fields of wrong types are refused with a sentence."""

from __future__ import annotations

import functools
import json
import math
import pickle
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models.bundles import tiny_bundle, tiny_weights
from fixtures.models.results_folders import V2_DATASET, v1_plans, v2_plans, write_v1_folder, write_v2_folder
from mednext.checkpoints import ImportOptions, convert_state_dict, import_checkpoint, infer_network
from mednext.checkpoints.pickles.reading import load_torch
from mednext.errors import BundleFormatError, BundleIntegrityError, CheckpointError, MedNeXtError
from mednext.library.catalog_source import load_catalog
from mednext.library.model_by_name import load_bundle
from mednext.library.store import export_zip, install_from_folder
from mednext.model.description import NetworkSpec
from mednext.model.weights_file import check_layout

OPTIONS = ImportOptions(orientation="RAS", labels={1: "spleen", 2: "liver"})
RAS = ImportOptions(orientation="RAS")
ODD: list[Any] = [None, True, -1, 1.5, 10**30, "x", "\ud800", [], [None], [[]], {"x": {}}, [10**9] * 9]


@pytest.fixture(scope="module", autouse=True)
def _everything_else_is_read_once() -> Iterator[None]:
    """The checkpoints beside the malformed files, and the catalog, which would take most of the time."""
    networks: dict[tuple[Any, ...], NetworkSpec] = {}

    def inferred_once(weights: dict[str, torch.Tensor]) -> NetworkSpec:
        shapes = tuple((name, value.shape) for name, value in weights.items())
        if shapes not in networks:
            networks[shapes] = infer_network(weights)
        return networks[shapes]

    read_once, weights = functools.cache(load_torch), "mednext.checkpoints.weights_in_file"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{weights}.load_torch", lambda path, _removed: read_once(path))
        patch.setattr(f"{weights}.infer_network", inferred_once)
        patch.setattr("mednext.checkpoints.label_naming.load_catalog", functools.cache(load_catalog))
        yield


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malformed") / "v1"
    write_v1_folder(folder, told_plans=False)
    return folder


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malformed") / "v2"
    write_v2_folder(folder, told_plans=False)
    return folder


def import_with(folder: Path, file: str, content: bytes, target: Path, options: ImportOptions = RAS) -> None:
    """Import a folder with another content of one file; only errors of our tree may come out."""
    before = (folder / file).read_bytes() if (folder / file).exists() else None
    (folder / file).write_bytes(content)
    try:
        import_checkpoint(folder, target, options)
    except MedNeXtError as error:
        assert str(error)
        assert not target.exists()
    else:
        load_bundle(target).network(0)
        shutil.rmtree(target)
    finally:
        if before is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(before)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_fields_of_v2_plans_may_have_any_type(v2: Path, tmp_path: Path, odd: Any) -> None:
    sound = v2_plans()
    cases = [
        {**sound, field: odd}
        for field in ("configurations", "transpose_forward", "foreground_intensity_properties_per_channel")
    ]
    fields = ("patch_size", "spacing", "inherits_from", "normalization_schemes", "use_mask_for_norm")
    fields += ("resampling_fn_data", "preprocessor_name", "previous_stage")
    for plans in (*cases, *(v2_plans(**{field: odd}) for field in fields)):
        import_with(v2, "plans.json", json.dumps(plans).encode(), tmp_path / "model")


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_fields_of_a_v2_data_set_may_have_any_type(v2: Path, tmp_path: Path, odd: Any) -> None:
    labels = {"background": 0, "spleen": 1, "left_lung": odd}
    cases = [{**V2_DATASET, field: odd} for field in ("channel_names", "labels", "regions_class_order")]
    for dataset in (*cases, {**V2_DATASET, "labels": labels}, odd):
        import_with(v2, "dataset.json", json.dumps(dataset).encode(), tmp_path / "model")


@pytest.mark.parametrize(
    "odd", [*ODD, b"\xff", np.zeros(3), np.array([None]), {1: 2, "1": 3}, math.nan], ids=repr
)
def test_fields_of_v1_plans_may_have_any_type(v1: Path, tmp_path: Path, odd: Any) -> None:
    fields: tuple[str, ...] = ("plans_per_stage", "num_stages", "all_classes", "num_modalities", "modalities")
    fields += ("use_mask_for_norm", "normalization_schemes", "dataset_properties", "transpose_forward")
    sound = v1_plans()
    for field in fields:
        plans = pickle.dumps({**sound, field: odd}) if odd is not ODD[6] else b"X\x03\0\0\0\xed\xa0\x80."
        import_with(v1, "plans.pkl", plans, tmp_path / "model", OPTIONS)


@pytest.mark.parametrize("odd", [value for value in ODD if value != "\ud800"], ids=repr)
def test_fields_of_a_v1_trainer_may_have_any_type(v1: Path, tmp_path: Path, odd: Any) -> None:
    sound = {"name": "nnUNetTrainerV2", "init": ()}
    for field, value in (("name", odd), ("init", odd), ("init", [odd] * 7), ("plans", odd)):
        told = pickle.dumps({**sound, field: value})
        import_with(v1, "fold_0/model_final_checkpoint.model.pkl", told, tmp_path / "model", OPTIONS)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_the_clean_up_of_v1_may_have_any_type(v1: Path, tmp_path: Path, odd: Any) -> None:
    for document in ({"for_which_classes": odd}, {"for_which_classes": [odd]}, odd):
        import_with(v1, "postprocessing.json", json.dumps(document).encode(), tmp_path / "model", OPTIONS)


def test_true_is_refused_as_a_label_of_a_clean_up(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    (tmp_path / "v1" / "postprocessing.json").write_text(json.dumps({"for_which_classes": [True]}))
    with pytest.raises(CheckpointError, match="'for_which_classes' must be a list of label values"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", OPTIONS)


@pytest.mark.parametrize(
    "odd", [{"1" * 5000: "liver"}, {"1": 2}, {"-1": "x"}, {"1": "\ud800", "2": "x"}, [1], "x"]
)
def test_labels_beside_v1_plans_may_have_any_type(tmp_path: Path, odd: Any) -> None:
    write_v1_folder(tmp_path / "v1")
    (tmp_path / "v1" / "dataset.json").write_text(json.dumps({"labels": odd}))
    with pytest.raises(CheckpointError, match="'labels' must be a name for each number"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", RAS)


def test_two_names_for_one_label_are_refused(tmp_path: Path) -> None:
    labels = {"background": 0, "spleen": 1, "left_lung": 2, "right_lung": 2}
    with pytest.raises(CheckpointError, match="names with different values"):
        write_v2_folder(tmp_path / "v2", dataset={**V2_DATASET, "labels": labels})
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_a_fold_that_was_trained_with_other_plans_than_the_folders_is_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    stage = dict(v1_plans()["plans_per_stage"][0], current_spacing=np.array([3.0, 3.0, 3.0]))
    (tmp_path / "v1" / "plans.pkl").write_bytes(pickle.dumps(v1_plans(plans_per_stage={0: stage})))
    with pytest.raises(CheckpointError, match="differ in 'plans_per_stage'"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", OPTIONS)


@pytest.mark.parametrize(("field", "value"), [("patch_size", [32, 32, 32]), ("spacing", [2.0, 1.0, 1.0])])
def test_a_v2_checkpoint_of_other_plans_than_the_folders_is_refused(
    tmp_path: Path, field: str, value: list[float]
) -> None:
    write_v2_folder(tmp_path / "v2")
    (tmp_path / "v2" / "plans.json").write_text(json.dumps(v2_plans(**{field: value})))
    with pytest.raises(CheckpointError, match=f"checkpoint_final.* differ in '{field}'"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


@pytest.mark.parametrize("odd", [None, 5, b"x", "", ["x"], "x" * 10**6], ids=lambda odd: str(odd)[:9])
def test_the_trainers_name_of_a_v2_checkpoint_may_have_any_type(tmp_path: Path, odd: Any) -> None:
    write_v2_folder(tmp_path / "v2", trainer=odd)
    with pytest.raises(CheckpointError, match="'trainer_name' must be a text") as refused:
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)
    assert len(str(refused.value)) < 1000


def test_a_name_for_a_label_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    options = ImportOptions(orientation="RAS", labels={1: "spleen", 2: "liver", 3: "kidney"})
    with pytest.raises(CheckpointError, match=r"\[1, 2\], but a name was given for 3"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", options)


def test_a_path_that_is_too_long_is_an_explained_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="too long"):
        import_checkpoint(tmp_path / ("x" * 300), tmp_path / "model", RAS)


def test_a_number_of_thousands_of_digits_is_refused_in_plain_words(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    (tmp_path / "v2" / "plans.json").write_text('{"x": ' + "9" * 5000 + "}")
    with pytest.raises(CheckpointError, match="a number has 5000 digits"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", OPTIONS)


@pytest.mark.parametrize("name", [5, None, b"stem.weight", ("stem", "weight")])
@pytest.mark.parametrize("source", ["nnunet_v1", "monai"])
def test_names_of_weights_that_are_not_text_are_refused(name: Any, source: str) -> None:
    with pytest.raises(CheckpointError, match="are not names of tensors"):
        convert_state_dict({**tiny_weights(), name: torch.ones(1)}, source)


@pytest.mark.parametrize(
    "value", [None, 1.0, [1], torch.ones(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)]
)
@pytest.mark.parametrize("source", ["nnunet_v1", "monai"])
def test_weights_that_are_not_floating_point_tensors_are_refused(value: Any, source: str) -> None:
    with pytest.raises(CheckpointError, match=r"'stem\.weight' are not names of tensors"):
        convert_state_dict({**tiny_weights(), "stem.weight": value}, source)


def test_weights_under_two_names_are_refused() -> None:
    with pytest.raises(CheckpointError, match="with and without a prefix"):
        convert_state_dict({**tiny_weights(), "module.stem.weight": torch.ones(1)}, "nnunet_v1")


@pytest.mark.parametrize(
    "shape", [(), (1,), (0, 1, 1, 1, 1), (1, 0, 1, 1, 1), (4, 1, 1, 1, 1, 1, 1), (2**15, 1, 1, 1, 1)]
)
@pytest.mark.parametrize(
    "name",
    ["stem.weight", "out_0.conv_out.weight", "enc_block_0.0.conv1.weight", "bottleneck.0.conv2.weight"],
)
@pytest.mark.parametrize("source", ["nnunet_v1", "monai"])
def test_weights_of_absurd_shapes_are_refused(name: str, shape: tuple[int, ...], source: str) -> None:
    state = {**tiny_weights(), name: torch.zeros(shape)}
    with pytest.raises(CheckpointError):
        infer_network(convert_state_dict(state, source))


@pytest.mark.parametrize(
    "header",
    [
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": []}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": null}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": {"0": 0}}}',
        b'{"w": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [[2]], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": {}, "shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [2]}}',
        b'{"w": {}, "v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": null}',
        b'{"__metadata__": 1, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"__metadata__": {"a": 1}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [' + b"1," * 100_000 + b'2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}',
        b"\xff\xfe",
        b"",
    ],
)
def test_a_header_of_weights_with_other_types_is_refused(header: bytes) -> None:
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        check_layout(Path("fold_0.safetensors"), header, 8)


def test_a_file_that_is_shorter_than_its_own_length_field_is_refused(tmp_path: Path) -> None:
    import hashlib

    bundle = tiny_bundle(tmp_path / "tiny")
    data = struct.pack("<Q", 2**63) + b"{}"
    (bundle.path / "fold_0.safetensors").write_bytes(data)
    file = bundle.path / "model.json"
    description = json.loads(file.read_text())
    description["folds"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    file.write_text(json.dumps(description))
    bundle = load_bundle(tmp_path / "tiny")
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        bundle.check()
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        bundle.network(0)


@pytest.mark.parametrize("accuracy", ['{"source": "x", "dice": 1e999}', '{"source": "x", "dice": "\\ud800"}'])
def test_an_accuracy_that_cannot_be_written_again_is_refused(tmp_path: Path, accuracy: str) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    file = bundle.path / "model.json"
    text = file.read_text()
    assert '"accuracy": null' in text
    file.write_text(text.replace('"accuracy": null', f'"accuracy": {accuracy}'))
    with pytest.raises(BundleFormatError, match="'accuracy' must be"):
        load_bundle(tmp_path / "tiny")


def test_a_title_with_half_a_character_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match="cannot be written"):
        tiny_bundle(tmp_path / "tiny", title="half \ud800")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_fields_of_a_strangers_model_may_have_any_type(
    tmp_path: Path, odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    bundle = tiny_bundle(tmp_path / "tiny")
    file = bundle.path / "model.json"
    sound = json.loads(file.read_text())
    for field in ("name", "labels", "channels", "network", "folds", "patch", "spacing", "accuracy", "step"):
        file.write_text(json.dumps({**sound, field: odd}))
        try:
            model = install_from_folder(bundle.path, overwrite=True)
        except MedNeXtError as error:
            assert str(error)
        else:
            export_zip(model.name, tmp_path / "out.zip", overwrite=True)
