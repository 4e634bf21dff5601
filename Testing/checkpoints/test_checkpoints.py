"""State dicts are converted, their networks inferred, and those of MONAI imported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_weights
from fixtures.models.results_folders import (
    assert_same_output,
)
from mednext.checkpoints import ImportOptions, convert_state_dict, import_checkpoint, infer_network
from mednext.errors import CheckpointError, IncompatibleCheckpointError, OptionError
from mednext.library.model_by_name import load_bundle
from mednext.model.description import NetworkSpec


def test_a_state_dict_of_monai_is_imported_with_a_description(tmp_path: Path) -> None:
    file, description = write_monai(tmp_path)
    bundle = import_checkpoint(file, tmp_path / "model", ImportOptions(description=description, half=False))
    assert bundle.model.labels[0].name == "spleen"
    assert load_bundle(tmp_path / "model").model == bundle.model
    state = convert_state_dict(torch.load(file, weights_only=True), "monai")
    assert_same_output(bundle, 0, replace(bundle.model.network, deep_supervision=True), state)


def test_a_state_dict_of_monai_alone_is_refused(tmp_path: Path) -> None:
    file, _ = write_monai(tmp_path)
    with pytest.raises(CheckpointError, match="holds weights only"):
        import_checkpoint(file, tmp_path / "model")


def test_a_description_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    file, description = write_monai(tmp_path, leave_out="orientation")
    with pytest.raises(CheckpointError, match="'orientation' is missing"):
        import_checkpoint(file, tmp_path / "model", ImportOptions(description=description))


def write_monai(folder: Path, leave_out: str = "") -> tuple[Path, Path]:
    from monai.networks.nets.mednext import MedNeXt

    torch.manual_seed(0)
    network = MedNeXt(
        init_filters=4, out_channels=2, kernel_size=3, deep_supervision=True, use_residual_connection=True
    )
    torch.save(network.state_dict(), folder / "monai.pt")
    description = {
        "channels": [{"name": "T1", "modality": "MR", "normalization": "zscore"}],
        "labels": [{"value": 1, "name": "spleen", "color": [1, 2, 3]}],
        "orientation": "RAS",
        "spacing": [1, 1, 1],
        "patch": [32, 32, 32],
    }
    description.pop(leave_out, None)
    (folder / "description.json").write_text(json.dumps(description))
    return folder / "monai.pt", folder / "description.json"


def test_converting_changes_neither_values_nor_types() -> None:
    state = {name: value.half() for name, value in tiny_weights().items()}
    converted = convert_state_dict({**state, "dummy_tensor": torch.ones(1)}, "nnunet_v1")
    assert converted.keys() == state.keys()
    assert all(converted[name] is state[name] for name in state)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(OptionError, match="'keras'"):
        convert_state_dict(tiny_weights(), "keras")


def test_another_network_is_refused() -> None:
    with pytest.raises(IncompatibleCheckpointError, match=r"encoder\.stages\.0\.weight"):
        convert_state_dict({"encoder.stages.0.weight": torch.zeros(3)}, "nnunet_v1")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel_size": 5},
        {"kernel_size": 7, "dimensions": 2},
        {"grn": True},
        {"resampling": "bottleneck"},
        {"resampling": "standard"},
        {"deep_supervision": True, "in_channels": 4, "num_classes": 14},
        {"expansion": (2, 3, 4, 4, 4, 4, 4, 3, 2), "blocks": (1, 2, 1, 2, 1, 2, 1, 2, 1), "channels": 8},
    ],
)
def test_the_network_is_inferred_from_its_weights(changes: dict[str, Any]) -> None:
    spec = replace(TINY_NETWORK, **changes)
    assert infer_network(spec.build().state_dict()) == spec


@pytest.mark.parametrize("variant", ["S", "B", "M", "L"])
def test_the_papers_sizes_are_recognised(variant: str) -> None:
    from mednext.network.mednext import VARIANTS

    size = VARIANTS[variant]
    spec = NetworkSpec(None, 1, 3, 3, size.expansion, size.blocks)
    with torch.device("meta"):
        assert infer_network(spec.build().state_dict()).variant == variant


def test_a_missing_weight_is_refused() -> None:
    state = tiny_weights()
    del state["dec_block_2.0.norm.bias"]
    with pytest.raises(IncompatibleCheckpointError, match=r"dec_block_2\.0\.norm\.bias are missing"):
        infer_network(state)


def test_a_weight_of_another_shape_is_refused() -> None:
    state = tiny_weights()
    state["up_3.conv3.bias"] = torch.zeros(5)
    with pytest.raises(IncompatibleCheckpointError, match=r"up_3\.conv3\.bias has the shape \(5,\)"):
        infer_network(state)
