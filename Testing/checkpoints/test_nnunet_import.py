"""Importing the results folders of nnU-Net v1 and v2 into bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK
from fixtures.models.results_folders import (
    CT_INTENSITIES,
    TRAINED_NETWORK,
    V2_DATASET,
    assert_same_output,
    v1_plans,
    v2_plans,
    write_v1_folder,
    write_v2_folder,
)
from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.nnunet import v1, v2
from mednext.checkpoints.weights_in_file import load_weights
from mednext.errors import BundleFormatError, CheckpointError, IncompatibleCheckpointError, UnknownModelError
from mednext.model.description import Channel

RAS = ImportOptions(orientation="RAS")
NAMED = replace(RAS, labels={1: "spleen", 2: "left lung"}, half=False)
CT_CHANNEL = Channel(
    "CT",
    "CT",
    "ct",
    CT_INTENSITIES["mean"],
    CT_INTENSITIES["std"],
    CT_INTENSITIES["percentile_00_5"],
    CT_INTENSITIES["percentile_99_5"],
)


def test_a_v1_folder_becomes_a_bundle_that_answers_as_the_trained_network(tmp_path: Path) -> None:
    weights = write_v1_folder(tmp_path / "v1", folds=(0, 3))
    bundle = import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED)
    assert [fold.index for fold in bundle.model.folds] == [0, 3]
    for fold, state in weights.items():
        assert_same_output(bundle, fold, TRAINED_NETWORK, state)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders whose weights were read."""
    names: list[str] = []

    def reading(path: Path, notes: Any) -> Any:
        names.append(path.parent.name)
        return load_weights(path, notes)

    for module in (v1, v2):
        monkeypatch.setattr(module, "load_weights", reading)
    return names


def test_wrong_plans_of_v1_are_refused_before_weights_are_read(tmp_path: Path, loaded: list[str]) -> None:
    for number, changes in enumerate(({"plans_per_stage": {}}, {"normalization_schemes": {0: "rank"}})):
        write_v1_folder(tmp_path / str(number), **changes)
        with pytest.raises(CheckpointError):
            import_checkpoint(tmp_path / str(number), tmp_path / "model", NAMED)
    assert loaded == []


@pytest.mark.parametrize("file", ["plans.json", "dataset.json"])
def test_a_damaged_file_of_v2_is_refused_before_weights_are_read(
    tmp_path: Path, loaded: list[str], file: str
) -> None:
    write_v2_folder(tmp_path / "v2", folds=(0, 1))
    (tmp_path / "v2" / file).write_text("{")
    with pytest.raises(CheckpointError, match=f"{file} is not valid JSON"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)
    assert loaded == []


@pytest.mark.parametrize("write", [write_v1_folder, write_v2_folder])
def test_another_network_is_refused_by_its_first_fold(
    tmp_path: Path, loaded: list[str], write: Callable[..., Any]
) -> None:
    write(tmp_path / "folds", folds=(0, 1))
    (file,) = (
        path for path in (tmp_path / "folds" / "fold_0").iterdir() if path.suffix in (".model", ".pth")
    )
    torch.save({"state_dict": {"a": torch.zeros(3)}, "network_weights": {"a": torch.zeros(3)}}, file)
    with pytest.raises(IncompatibleCheckpointError, match="holds no weights of a MedNeXt"):
        import_checkpoint(tmp_path / "folds", tmp_path / "model", NAMED)
    assert loaded == ["fold_0"]


def test_a_v2_folder_becomes_a_bundle_that_answers_as_the_trained_network(tmp_path: Path) -> None:
    weights = write_v2_folder(tmp_path / "v2", folds=(0, 1))
    bundle = import_checkpoint(tmp_path / "v2", tmp_path / "model", replace(RAS, half=False))
    for fold, state in weights.items():
        assert_same_output(bundle, int(fold), TRAINED_NETWORK, state)


def test_the_preprocessing_of_v1_plans_is_imported(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED).model
    assert model.pipeline == "nnunet_v1"
    assert model.channels == (CT_CHANNEL,)
    assert (model.spacing, model.patch) == ((1.5, 1.0, 1.0), (16, 32, 48))
    assert (model.mirror_axes, model.output, model.step) == ((0, 1, 2), "softmax", 0.5)
    assert not model.network.deep_supervision


def test_the_preprocessing_of_v2_plans_is_imported(tmp_path: Path) -> None:
    plans = v2_plans(patch_size=[32, 32, 16])
    write_v2_folder(tmp_path / "v2", plans=plans, mirror_axes=(0, 1))
    model = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model
    assert model.pipeline == "nnunet_v2"
    assert model.channels == (CT_CHANNEL,)
    assert (model.spacing, model.patch) == ((1.5, 1.0, 1.0), (32, 32, 16))
    assert model.mirror_axes == (0, 1)


def test_old_pickles_of_protocol_2_are_read(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1", protocol=2)
    assert import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED).model.spacing == (1.5, 1.0, 1.0)


def test_mr_channels_keep_their_names_and_masked_normalisation(tmp_path: Path) -> None:
    names = ("T1", "T1ce", "T2", "FLAIR")
    weights = replace(TRAINED_NETWORK, in_channels=4)
    write_v1_folder(
        tmp_path / "v1",
        network=weights,
        num_modalities=4,
        modalities=dict(enumerate(names)),
        normalization_schemes=dict.fromkeys(range(4), "nonCT"),
        use_mask_for_norm=dict.fromkeys(range(4), True),
    )
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED).model
    assert model.channels == tuple(Channel(name, "MR", "zscore_masked") for name in names)


def test_the_stage_that_the_v1_trainer_was_given_is_taken(tmp_path: Path) -> None:
    low = dict(v1_plans()["plans_per_stage"][0], current_spacing=np.array([3.0, 3.0, 3.0]))
    full = v1_plans()["plans_per_stage"][0]
    write_v1_folder(tmp_path / "v1", num_stages=2, plans_per_stage={0: low, 1: full})
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED).model
    assert model.spacing == (3.0, 3.0, 3.0)


def test_regions_of_v2_keep_their_order_and_their_labels(tmp_path: Path) -> None:
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3},
        "regions_class_order": [1, 2, 3],
    }
    write_v2_folder(tmp_path / "v2", dataset=dataset)
    model = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model
    assert model.output == "regions"
    assert model.regions_class_order == (1, 2, 3)
    assert [(region.name, region.labels) for region in model.regions] == [
        ("whole tumor", (1, 2, 3)),
        ("tumor core", (2, 3)),
        ("enhancing tumor", (3,)),
    ]


def test_the_ignore_label_of_v2_is_not_imported(tmp_path: Path) -> None:
    dataset = {**V2_DATASET, "labels": {**V2_DATASET["labels"], "ignore": 3}}  # type: ignore[dict-item]
    write_v2_folder(tmp_path / "v2", dataset=dataset)
    model = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model
    assert [label.name for label in model.labels] == ["spleen", "left_lung"]


def test_names_known_to_the_catalog_get_its_colour_and_code(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    spleen, lung = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model.labels
    assert spleen.terminology is not None
    assert spleen.terminology.type.value == "78961009"
    assert lung.terminology is None
    assert spleen.color != lung.color


def test_the_task_names_labels_that_the_data_set_abbreviates(tmp_path: Path) -> None:
    dataset = {
        **V2_DATASET,
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "Posterior": 1, "Anterior": 2},
    }
    plans = v2_plans(normalization_schemes=["ZScoreNormalization"])
    write_v2_folder(tmp_path / "v2", dataset=dataset, plans=plans)
    model = import_checkpoint(tmp_path / "v2", tmp_path / "m", replace(RAS, task="hippocampus")).model
    assert [(label.value, label.name) for label in model.labels] == [
        (1, "posterior hippocampus"),
        (2, "anterior hippocampus"),
    ]
    assert model.channels == (Channel("MRI", "MR", "zscore"),)


def test_numbers_without_names_are_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    with pytest.raises(CheckpointError, match=r"\[1, 2\] only\. Name them"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", RAS)
    assert not (tmp_path / "model").exists()


def test_numbers_are_named_by_the_task(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", replace(RAS, task="KiTS19")).model
    assert [label.name for label in model.labels] == ["kidney", "kidney tumor"]


def test_numbers_are_named_by_a_dataset_json_beside_the_plans(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    labels = {"labels": {"0": "background", "1": "liver", "2": "lesion"}}
    (tmp_path / "v1" / "dataset.json").write_text(json.dumps(labels))
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", RAS).model
    assert [label.name for label in model.labels] == ["liver", "lesion"]


def test_a_task_with_other_labels_is_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    with pytest.raises(CheckpointError, match="the task BTCV has"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", replace(RAS, task="BTCV"))


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    with pytest.raises(UnknownModelError, match="hippocampus, BTCV"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", replace(RAS, task="BTVC"))


def test_a_fold_folder_is_imported_alone(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", folds=(0, 1))
    bundle = import_checkpoint(tmp_path / "v2" / "fold_1", tmp_path / "model", RAS)
    assert [fold.index for fold in bundle.model.folds] == [1]


def test_the_file_of_a_fold_is_imported_alone(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", folds=(0, 1), file="checkpoint_best.pth")
    file = tmp_path / "v2" / "fold_1" / "checkpoint_best.pth"
    bundle = import_checkpoint(file, tmp_path / "model", RAS)
    assert [fold.index for fold in bundle.model.folds] == [1]


def test_the_fold_of_all_cases_is_imported_as_fold_0(tmp_path: Path) -> None:
    weights = write_v2_folder(tmp_path / "v2", folds=("all",))
    bundle = import_checkpoint(tmp_path / "v2", tmp_path / "model", replace(RAS, half=False))
    assert [fold.index for fold in bundle.model.folds] == [0]
    assert_same_output(bundle, 0, TRAINED_NETWORK, weights["all"])


def test_the_best_checkpoint_is_taken_on_request(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", file="checkpoint_best.pth")
    with pytest.raises(CheckpointError, match=r"has no checkpoint_final\.pth"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", replace(RAS, checkpoint="final"))
    bundle = import_checkpoint(tmp_path / "v2", tmp_path / "model", replace(RAS, checkpoint="best"))
    assert "checkpoint_best.pth" in bundle.model.description


def test_weights_with_the_prefix_of_a_wrapper_are_recognised(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", prefix="module._orig_mod.")
    assert import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model.network == TINY_NETWORK


def test_a_fold_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", folds=(0, 1))
    (tmp_path / "v2" / "fold_1").rename(tmp_path / "v2" / "fold_00")
    with pytest.raises(CheckpointError, match="are the same fold"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_a_folder_with_plans_and_no_weights_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", folds=())
    with pytest.raises(CheckpointError, match=r"has neither weights \(checkpoint_final.* nor folders fold_0"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_an_unfinished_fold_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", folds=(0, 1))
    (tmp_path / "v2" / "fold_1" / "checkpoint_final.pth").unlink()
    with pytest.raises(CheckpointError, match="Fold 1 of"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_plans_that_inherit_in_a_circle_are_refused(tmp_path: Path) -> None:
    plans = v2_plans()
    plans["configurations"]["3d_fullres"]["inherits_from"] = "3d_mednext"
    write_v2_folder(tmp_path / "v2", plans=plans)
    with pytest.raises(CheckpointError, match="inherits from itself"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessor_name": "MyPreprocessor"}, "MyPreprocessor"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resample_torch_fornnunet"),
        ({"resampling_fn_probabilities": "no_resampling_hack"}, "no_resampling_hack"),
        ({"resampling_fn_data_kwargs": {"order": 1}}, "resampling_fn_data_kwargs"),
        ({"normalization_schemes": ["RGBTo01Normalization"]}, "RGBTo01Normalization"),
        ({"previous_stage": "3d_lowres"}, "no cascades"),
        ({"patch_size": [32, 32]}, "two-dimensional"),
        ({"patch_size": [32, 32, "x"]}, "patch_size"),
        ({"spacing": [1.0, -1.0, 1.0]}, "spacing"),
        ({"use_mask_for_norm": [False, True]}, "normalization_schemes"),
        ({"inherits_from": "4d"}, "no configuration '4d'"),
    ],
)
def test_plans_that_inference_cannot_follow_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_v2_folder(tmp_path / "v2", plans=v2_plans(**changes))
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessor_name": "PreprocessorFor2D"}, "PreprocessorFor2D"),
        ({"normalization_schemes": {0: "CT2"}}, "CT2"),
        ({"use_mask_for_norm": {0: True}}, "'CT' in a mask"),
        ({"num_modalities": 2}, "'1' is missing"),
        ({"all_classes": [1, 2, 3]}, r"3 output channels, but the plans have the labels \[1, 2, 3\]"),
        ({"plans_per_stage": {}}, "'0' is missing"),
        (
            {
                "segmentation_export_params": {
                    "force_separate_z": True,
                    "interpolation_order": 1,
                    "interpolation_order_z": 0,
                }
            },
            "segmentation_export_params",
        ),
    ],
)
def test_v1_plans_that_inference_cannot_follow_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_v1_folder(tmp_path / "v1", **changes)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED)


def test_a_patch_that_is_not_divisible_by_16_is_rounded_up_with_a_remark(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", plans=v2_plans(patch_size=[40, 56, 48]))
    model = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model
    assert model.patch == (48, 64, 48)
    assert "40 × 56 × 48 was rounded up to 48 × 64 × 48" in model.description


def test_a_patch_of_one_voxel_at_the_bottom_of_the_network_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", plans=v2_plans(patch_size=[16, 10, 16]))
    with pytest.raises(BundleFormatError, match=r"\[16, 16, 16\]"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_labels_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    labels = {"labels": {"background": 0, "spleen": 1}}
    write_v2_folder(tmp_path / "v2", dataset={**V2_DATASET, **labels})
    with pytest.raises(IncompatibleCheckpointError, match="3 output channels"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_the_second_stage_of_a_cascade_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", network=replace(TRAINED_NETWORK, in_channels=3))
    with pytest.raises(IncompatibleCheckpointError, match="takes 3 channels"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [({}, (2,)), ({"min_valid_object_sizes": "None"}, (2,)), ({"min_valid_object_sizes": "{2: 8.0}"}, ())],
    ids=["no sizes", "None", "sizes"],
)
def test_the_clean_up_found_by_v1s_cross_validation_is_kept_unless_it_spares_large_parts(
    tmp_path: Path, sizes: dict[str, str], kept: tuple[int, ...]
) -> None:
    write_v1_folder(tmp_path / "v1")
    found = {"for_which_classes": [[1, 2], 2], **sizes}
    (tmp_path / "v1" / "postprocessing.json").write_text(json.dumps(found))
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED).model
    assert model.keep_largest == kept
    assert "clean-up of" in model.description


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    full = import_checkpoint(tmp_path / "v2", tmp_path / "full", replace(RAS, half=False)).path
    half = import_checkpoint(tmp_path / "v2", tmp_path / "half", RAS).path
    sizes = [(folder / "fold_0.safetensors").stat().st_size for folder in (full, half)]
    assert sizes[1] < 0.8 * sizes[0]


def test_a_folder_without_plans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither plans\.json .* nor plans\.pkl"):
        import_checkpoint(tmp_path, tmp_path / "model", RAS)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no"):
        import_checkpoint(tmp_path / "nothing", tmp_path / "model", RAS)
