"""Weights are found in the containers and prefixes of any training program, or refused with a reason."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_weights
from fixtures.models.results_folders import TRAINED_NETWORK, assert_same_output
from mednext.checkpoints import ImportOptions, examine_checkpoint, import_checkpoint
from mednext.checkpoints.import_report import ImportNotes
from mednext.checkpoints.weights_in_file import load_weights, read_network
from mednext.errors import (
    BundleIntegrityError,
    CheckpointError,
    IncompatibleCheckpointError,
    OptionError,
)
from mednext.model.description import NetworkSpec
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = tiny_weights(TINY_NETWORK)
OTHER = tiny_weights(TINY_NETWORK, seed=1)
FILE = Path("weights.pt")


def prefixed(prefix: str, weights: dict[str, Tensor] = WEIGHTS) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def read(checkpoint: Any, part: str | None = None) -> tuple[NetworkSpec, dict[str, Tensor], ImportNotes]:
    notes = ImportNotes()
    spec, weights = read_network(checkpoint, FILE, part, notes)
    return spec, weights, notes


def assert_ours(weights: dict[str, Tensor], expected: dict[str, Tensor] = WEIGHTS) -> None:
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "checkpoint",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        *(
            {key: WEIGHTS}
            for key in (
                "model",
                "net",
                "network",
                "network_weights",
                "model_state_dict",
                "model_state",
                "ema",
                "weights",
            )
        ),
        *(
            {"state_dict": prefixed(prefix)}
            for prefix in ("model.", "net.", "network.", "model.model.", "student.", "ema_model.")
        ),
        {"fold": 0, "model_state_dict": prefixed("module.")},
        {"state": {"models": {"student": prefixed("net._orig_mod.")}}},
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        {"state_dict": prefixed("model.network.module.")},
        {name.replace("enc_block_0.", "enc_block_0._orig_mod."): value for name, value in WEIGHTS.items()},
        {
            name.replace(".0.conv1", ".0._checkpoint_wrapped_module.conv1"): value
            for name, value in WEIGHTS.items()
        },
        {"n_averaged": torch.tensor(7), **prefixed("module.")},
        {"model": WEIGHTS, "ema": dict(WEIGHTS)},
        {"names": np.array(["a", "b"]), **{name: value.numpy() for name, value in WEIGHTS.items()}},
        {name: value.numpy().astype(">f4") for name, value in WEIGHTS.items()},
        (WEIGHTS, 300),
        {"runs": [{"folds": {0: {"a": {"b": {"c": {"d": WEIGHTS}}}}}}]},
    ],
    ids=lambda checkpoint: f"{str(next(iter(checkpoint)))[:20]}-{len(checkpoint)}",
)
def test_the_weights_are_found_in_any_container_and_under_any_prefix(checkpoint: Any) -> None:
    spec, weights, notes = read(checkpoint)
    assert spec == TINY_NETWORK
    assert_ours(weights)
    assert not [remark for remark in notes.remarks if "n_averaged" not in remark]


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"model": WEIGHTS, "ema": OTHER},
        {"state_dict": {**prefixed("net."), **prefixed("ema_model.module.", OTHER)}},
        {**WEIGHTS, **prefixed("teacher.", OTHER)},
    ],
    ids=["containers", "prefixes", "bare"],
)
def test_of_several_networks_the_user_chooses(checkpoint: Any) -> None:
    with pytest.raises(CheckpointError, match=r"several networks, .*--part"):
        read(checkpoint)
    chosen = {"ema", "state_dict.ema_model.module", "teacher"}
    part = next(part for part in chosen if _has(checkpoint, part))
    assert_ours(read(checkpoint, part)[1], OTHER)
    assert_ours(read(checkpoint, next(each for each in ("model", "net", "top") if _has(checkpoint, each)))[1])


def _has(checkpoint: Any, part: str) -> bool:
    try:
        read(checkpoint, part)
    except CheckpointError as error:
        assert "has no single network" in str(error)
        return False
    return True


@pytest.mark.parametrize(
    "average",
    [
        [OTHER],
        {0: OTHER},
        {"a": {"b": {"c": {"d": {"e": {"f": OTHER}}}}}},
        {name: value.numpy() for name, value in OTHER.items()},
    ],
    ids=["list", "numbers", "deep", "numpy"],
)
def test_a_second_network_is_found_in_any_container(average: Any) -> None:
    with pytest.raises(CheckpointError, match="several networks, 'model', 'average"):
        read({"model": WEIGHTS, "average": average})


def test_an_average_without_names_is_remarked() -> None:
    _, weights, notes = read({"model": WEIGHTS, "ema": {"shadow_params": list(OTHER.values())}})
    assert_ours(weights)
    assert "tensors without names too, in ema.shadow_params" in notes.remarks[0]


@pytest.mark.parametrize(
    "extra",
    [
        "cls_head.weight",
        "projection_head.0.weight",
        "out_5.conv_out.weight",
        "loss_fn.weight",
        "criterion.ce.weight",
        "auxHead.bias",
        "val_metrics.total",
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_an_extra_head_or_loss_is_dropped_with_a_remark(prefix: str, extra: str) -> None:
    _, weights, notes = read({"state_dict": {**prefixed(prefix), extra: torch.ones(3)}})
    assert_ours(weights)
    assert notes.remarks == [f"Left out, as only a training uses them: {extra}."]


@pytest.mark.parametrize(
    "extra",
    [
        "attention_gate_2.weight",
        "enc_block_0.0.se.fc1.weight",
        "class_embedding.weight",
        "input_norm.weight",
        "refine.conv.weight",
        "out_0.conv_mid.weight",
    ],
)
def test_a_weight_that_may_belong_to_the_network_is_refused(extra: str) -> None:
    with pytest.raises(IncompatibleCheckpointError, match=re.escape(extra)):
        read({**WEIGHTS, extra: torch.ones(3)})


def test_a_head_around_the_network_that_the_answer_needs_is_refused() -> None:
    with pytest.raises(IncompatibleCheckpointError, match=r"decoder2\.weight, whose purpose"):
        read({**prefixed("backbone."), "decoder2.weight": torch.ones(3)})


V2 = replace(TINY_NETWORK, grn=True, grn_first_down=True)


def test_the_denominator_of_v2_is_asked_for_and_never_assumed() -> None:
    weights = tiny_weights(V2)
    with pytest.raises(CheckpointError, match="--grn mean"):
        read(weights)
    notes = ImportNotes(asking=True)
    read_network(weights, FILE, None, notes)
    assert notes.questions["grn_denominator"].choices == ("mean", "sum")
    for told in ("mean", "sum"):
        spec, _ = read_network(weights, FILE, None, ImportNotes(), grn_denominator=told)
        assert spec == replace(V2, grn_denominator=told)


def test_the_normalisation_of_v1_has_its_codes_denominator() -> None:
    v1 = replace(V2, grn_first_down=False)
    assert read(tiny_weights(v1))[0] == v1
    with pytest.raises(OptionError, match="no global response normalisation"):
        read_network(WEIGHTS, FILE, None, ImportNotes(), grn_denominator="sum")


@pytest.mark.parametrize("kept", [(), (1,), (1, 2, 3), (2, 4), (1, 2, 3, 4)], ids=str)
def test_any_heads_of_deep_supervision_may_be_missing(kept: tuple[int, ...]) -> None:
    state = {
        name: value
        for name, value in tiny_weights(TRAINED_NETWORK).items()
        if not name.startswith("out_") or int(name[4]) in (0, *kept)
    }
    spec, weights, _ = read(state)
    assert spec == TINY_NETWORK and not any(name.startswith("out_1") for name in weights)


def without(*names: str) -> dict[str, Tensor]:
    return {name: value for name, value in WEIGHTS.items() if name not in names}


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (without("stem.weight"), "holds no weights of a MedNeXt: it has stem.bias"),
        (without("out_0.conv_out.weight"), "do not belong to one"),
        (without("up_3.norm.bias"), r"up_3\.norm\.bias are missing"),
        (dict(list(WEIGHTS.items())[:20]), "do not belong to one"),
        ({}, "it is empty"),
        ([1], "its content is a list"),
        ({name.replace(".", "/"): value for name, value in WEIGHTS.items()}, "no weights .* stem/weight"),
        (
            {**prefixed("module.", without("up_3.norm.bias")), "up_3.norm.bias": torch.ones(4)},
            r"have a prefix in their names, and others, up_3\.norm\.bias",
        ),
        ({name: value.to(torch.int8) for name, value in WEIGHTS.items()}, "floating point"),
        ({**WEIGHTS, "stem._orig_mod.weight": WEIGHTS["stem.weight"]}, "there twice"),
        (nn.Conv3d(1, 1, 1).state_dict(), "holds no weights of a MedNeXt"),
    ],
    ids=[
        "no stem",
        "no head",
        "a hole",
        "truncated",
        "empty",
        "a list",
        "slashes",
        "half a prefix",
        "int8",
        "twice",
        "another network",
    ],
)
def test_a_file_without_a_whole_mednext_is_refused_with_the_reason(checkpoint: Any, message: str) -> None:
    with pytest.raises(IncompatibleCheckpointError, match=message):
        read(checkpoint)


DESCRIPTION = {
    "channels": [{"name": "T1", "modality": "MR", "normalization": "zscore"}],
    "labels": [
        {"value": 1, "name": "spleen", "color": [1, 2, 3]},
        {"value": 2, "name": "liver", "color": [4, 5, 6]},
    ],
    "orientation": "LPS",
    "spacing": [1, 1, 1],
    "patch": [40, 32, 32],
}


def imported(folder: Path, save: Callable[[Path], None], name: str = "weights.pt", **changes: Any) -> Any:
    save(folder / name)
    description = folder / "description.json"
    fields = {**DESCRIPTION, **changes.pop("described", {})}
    description.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    options = ImportOptions(description=description, half=False, **changes)
    return import_checkpoint(folder / name, folder / "model", options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_any_precision_are_imported(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: value.to(dtype) for name, value in WEIGHTS.items()}
    bundle = imported(tmp_path, lambda path: torch.save({"model": weights}, path))
    assert_same_output(bundle, 0, TINY_NETWORK, {name: value.float() for name, value in weights.items()})


def test_weights_with_the_channels_last_are_imported(tmp_path: Path) -> None:
    network = TINY_NETWORK.build().to(memory_format=torch.channels_last_3d)
    network.load_state_dict(WEIGHTS)
    bundle = imported(tmp_path, lambda path: torch.save(network.state_dict(), path))
    assert_same_output(bundle, 0, TINY_NETWORK, WEIGHTS)


def test_a_safetensors_file_is_imported(tmp_path: Path) -> None:
    bundle = imported(tmp_path, lambda path: save_file(prefixed("model."), path), "w.safetensors")
    assert_same_output(bundle, 0, TINY_NETWORK, WEIGHTS)
    assert bundle.model.patch == (48, 32, 32)


def test_a_safetensors_file_with_a_counter_and_another_name_is_imported(tmp_path: Path) -> None:
    state = {**prefixed("module."), "n_averaged": torch.tensor(7)}
    bundle = imported(tmp_path, lambda path: save_file(state, path), "pytorch_model.bin")
    assert_same_output(bundle, 0, TINY_NETWORK, WEIGHTS)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (gzip.compress(b"weights"), "unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ],
    ids=["git lfs", "web page", "gzip", "hdf5"],
)
def test_another_file_in_the_place_of_weights_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_weights(tmp_path / name, ImportNotes())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    weights = {**WEIGHTS, "bottleneck.0.norm.bias": torch.full((64,), bad)}
    with pytest.raises(
        BundleIntegrityError, match=r"bottleneck\.0\.norm\.bias has values that are not finite"
    ):
        imported(tmp_path, lambda path: torch.save(weights, path))
    assert not (tmp_path / "model").exists()
    with pytest.raises(BundleIntegrityError, match="not finite"):  # told before the import, too
        examine_checkpoint(
            tmp_path / "weights.pt", "model", ImportOptions(description=tmp_path / "description.json")
        )


def test_of_nnunets_own_weights_and_an_average_beside_its_own_are_taken_with_a_remark() -> None:
    checkpoint = {"network_weights": WEIGHTS, "ema_weights": OTHER}
    notes = ImportNotes()
    _, weights = read_network(checkpoint, FILE, None, notes, container="network_weights")
    assert_ours(weights)
    assert notes.remarks == [
        "weights.pt has other weights too, 'ema_weights'; its program uses network_weights."
    ]
    _, average = read_network(checkpoint, FILE, "ema_weights", ImportNotes(), container="network_weights")
    assert_ours(average, OTHER)


@pytest.mark.parametrize("kept", [8, 200, 5000])
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path, kept: int) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="safetensors"):
        load_weights(tmp_path / "w.safetensors", ImportNotes())


def test_orientation_and_labels_may_come_from_the_options(tmp_path: Path) -> None:
    bundle = imported(
        tmp_path,
        lambda path: torch.save(WEIGHTS, path),
        described={"orientation": None, "labels": None},
        orientation="RAS",
        labels={1: "spleen", 2: "liver"},
    )
    assert bundle.model.orientation == "RAS"
    assert [label.name for label in bundle.model.labels] == ["spleen", "liver"]


@pytest.mark.parametrize(
    "options",
    [{"orientation": "RAS"}, {"labels": {1: "liver", 2: "spleen"}}, {"mirror_axes": (0,)}],
    ids=lambda options: next(iter(options)),
)
def test_an_option_against_the_description_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"orientation|twice|mirror_axes"):
        imported(tmp_path, lambda path: torch.save(WEIGHTS, path), described={"mirror_axes": [2]}, **options)


@pytest.mark.parametrize("wrong", [None, 3, "CT", [[]], ["CT"], {"value": 1}, [{"value": [], "name": {}}]])
@pytest.mark.parametrize("field", ["labels", "channels"])
def test_a_description_with_anything_else_for_its_names_is_refused_beside_options(
    tmp_path: Path, field: str, wrong: Any
) -> None:
    (tmp_path / "d.json").write_text(json.dumps({**DESCRIPTION, field: wrong}))
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    options = ImportOptions(
        description=tmp_path / "d.json", labels={1: "spleen", 2: "liver"}, channels=("CT",)
    )
    with pytest.raises(CheckpointError, match=f"'{field}'|{field}"):
        examine_checkpoint(tmp_path / "w.safetensors", "model", options)


def test_a_description_with_other_labels_than_the_network_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="labels"):
        imported(tmp_path, lambda path: torch.save(WEIGHTS, path), described={"labels": []})


def test_the_assumptions_about_described_weights_are_in_the_models_description(tmp_path: Path) -> None:
    bundle = imported(tmp_path, lambda path: torch.save(WEIGHTS, path))
    assert "pipeline of nnU-Net v2 was assumed" in bundle.model.description
    assert "not mirrored" in bundle.model.description
    assert bundle.model.mirror_axes == ()


def test_the_question_for_the_part_lists_the_places(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "ema": OTHER}, tmp_path / "weights.pt")
    (tmp_path / "d.json").write_text(json.dumps(DESCRIPTION))
    options = ImportOptions(description=tmp_path / "d.json")
    report = examine_checkpoint(tmp_path / "weights.pt", "model", options)
    assert [(each.option, each.choices) for each in report.questions] == [("part", ("model", "ema"))]
    report = examine_checkpoint(tmp_path / "weights.pt", "model", replace(options, part="ema"))
    assert not report.questions
    assert ("weights", "fold 0: weights.pt", "ema") in [
        (row.fact, row.value, row.source) for row in report.rows
    ]
