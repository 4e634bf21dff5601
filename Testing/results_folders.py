"""Results folders as nnU-Net v1 and v2 leave them after training a MedNeXt, with tiny networks."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundles import TINY_NETWORK, tiny_weights
from mednext.bundle import Bundle
from mednext.model import NetworkSpec

TRAINED_NETWORK = replace(TINY_NETWORK, deep_supervision=True)

CT_INTENSITIES = {"mean": 101.5, "std": 77.25, "percentile_00_5": -150.0, "percentile_99_5": 310.0}


def v1_plans(**changes: Any) -> OrderedDict[str, Any]:
    """Plans as `ExperimentPlanner.plan_experiment` of nnU-Net v1 pickles them, for one CT channel."""
    statistics = {
        "median": np.float64(98.0),
        "mean": np.float64(CT_INTENSITIES["mean"]),
        "sd": np.float64(CT_INTENSITIES["std"]),
        "mn": np.float32(-1024),
        "mx": np.float32(2000),
        "percentile_99_5": np.float64(CT_INTENSITIES["percentile_99_5"]),
        "percentile_00_5": np.float64(CT_INTENSITIES["percentile_00_5"]),
    }
    cases = OrderedDict(case_001=OrderedDict(statistics))
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [4, 4, 4],
        "patch_size": np.array([16, 32, 48]),
        "median_patient_size_in_voxels": np.array([40, 60, 60]),
        "current_spacing": np.array([1.5, 1.0, 1.0]),
        "original_spacing": np.array([1.5, 1.0, 1.0]),
        "do_dummy_2D_data_aug": np.bool_(False),
        "pool_op_kernel_sizes": [[2, 2, 2]] * 4,
        "conv_kernel_sizes": [[3, 3, 3]] * 5,
    }
    plans: OrderedDict[str, Any] = OrderedDict(
        num_stages=1,
        num_modalities=1,
        modalities={0: "CT"},
        normalization_schemes=OrderedDict({0: "CT"}),
        dataset_properties={
            "all_sizes": [(40, 60, 60)],
            "all_spacings": [np.array([1.5, 1.0, 1.0])],
            "all_classes": [1, 2],
            "modalities": {0: "CT"},
            "intensityproperties": OrderedDict(
                {0: OrderedDict(local_props=cases, **statistics)},
            ),
            "size_reductions": OrderedDict(case_001=np.float64(0.98)),
        },
        list_of_npz_files=["/somewhere/case_001.npz"],
        original_spacings=[np.array([1.5, 1.0, 1.0])],
        original_sizes=[(40, 60, 60)],
        preprocessed_data_folder="/somewhere",
        num_classes=2,
        all_classes=[1, 2],
        base_num_features=32,
        use_mask_for_norm=OrderedDict({0: False}),
        keep_only_largest_region=None,
        min_region_size_per_class=None,
        min_size_per_class=None,
        transpose_forward=[0, 1, 2],
        transpose_backward=[0, 1, 2],
        data_identifier="nnUNetData_plans_v2.1_trgSp_1x1x1",
        plans_per_stage={0: stage},
        preprocessor_name="GenericPreprocessor",
        conv_per_stage=2,
    )
    plans.update(changes)
    return plans


def write_v1_folder(
    folder: Path,
    folds: Sequence[int] = (0,),
    network: NetworkSpec = TRAINED_NETWORK,
    trainer: str = "nnUNetTrainerV2_MedNeXt_S_kernel3",
    protocol: int = 4,
    told_plans: bool = True,
    **plan_changes: Any,
) -> dict[int, dict[str, torch.Tensor]]:
    """A results folder of nnU-Net v1; returns the weights of each fold, without `dummy_tensor`.

    With `told_plans` each fold's file has the plans too.
    """
    plans = v1_plans(**plan_changes)
    folder.mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans, protocol=protocol))
    weights = {}
    for fold in folds:
        weights[fold] = tiny_weights(network, seed=fold)
        fold_folder = folder / f"fold_{fold}"
        fold_folder.mkdir()
        checkpoint = {
            "epoch": 1000,
            "state_dict": OrderedDict(weights[fold], dummy_tensor=torch.ones(1)),
            "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": np.float64(1e-3)}]},
            "lr_scheduler_state_dict": None,
            "plot_stuff": ([np.float32(0.5)], [np.float64(0.4)], [], [np.float64(0.9)]),
            "best_stuff": (None, np.float64(0.3), np.float64(0.9)),
            "amp_grad_scaler": {"scale": 65536.0, "growth_factor": 2.0},
        }
        torch.save(checkpoint, fold_folder / "model_final_checkpoint.model")
        info = OrderedDict(
            init=("plans.pkl", fold, "out", "data", True, 0, True, False, True),
            name=trainer,
            **({"plans": plans} if told_plans else {}),
        )
        info["class"] = f"<class '{trainer}'>"
        info_file = fold_folder / "model_final_checkpoint.model.pkl"
        info_file.write_bytes(pickle.dumps(info, protocol=protocol))
    return weights


def v2_plans(**configuration_changes: Any) -> dict[str, Any]:
    """Plans as nnU-Net v2 writes them, with a configuration that inherits from another."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    fullres = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 32, 48],
        "median_image_size_in_voxels": [40.0, 60.0, 60.0],
        "spacing": [1.5, 1.0, 1.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": True,
    }
    return {
        "dataset_name": "Dataset999_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.5, 1.0, 1.0],
        "original_median_shape_after_transp": [40, 60, 60],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "3d_fullres": fullres,
            "3d_mednext": {"inherits_from": "3d_fullres", **configuration_changes},
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {**CT_INTENSITIES, "median": 98.0, "min": -1024.0, "max": 2000.0}
        },
    }


V2_DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "spleen": 1, "left_lung": 2},
    "numTraining": 20,
    "file_ending": ".nii.gz",
}


def write_v2_folder(
    folder: Path,
    folds: Sequence[int | str] = (0,),
    network: NetworkSpec = TRAINED_NETWORK,
    plans: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    mirror_axes: Any = (0, 1, 2),
    trainer: str = "nnUNetTrainerMedNeXt_S_k3",
    told_plans: bool = True,
    file: str = "checkpoint_final.pth",
    prefix: str = "",
) -> dict[int | str, dict[str, torch.Tensor]]:
    """A results folder of nnU-Net v2; returns the weights of each fold.

    With `mirror_axes` "unsaid" the checkpoints do not tell them; with `told_plans` they have the plans too.
    """
    folder.mkdir(parents=True)
    plans = v2_plans() if plans is None else plans
    dataset = V2_DATASET if dataset is None else dataset
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    weights: dict[int | str, dict[str, torch.Tensor]] = {}
    for seed, fold in enumerate(folds):
        weights[fold] = tiny_weights(network, seed=seed)
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": OrderedDict((prefix + key, value) for key, value in weights[fold].items()),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 1e-3}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float32(0.5), np.float64(0.6)], "epoch_end_timestamps": [1.0]},
            "_best_ema": np.float64(0.61),
            "current_epoch": 1000,
            "init_args": {
                **({"plans": plans} if told_plans else {}),
                "configuration": "3d_mednext",
                "fold": fold,
                "dataset_json": dataset,
                "device": torch.device("cpu"),
            },
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": mirror_axes,
        }
        if mirror_axes == "unsaid":
            del checkpoint["inference_allowed_mirroring_axes"]
        torch.save(checkpoint, folder / f"fold_{fold}" / file)
    return weights


def assert_same_output(bundle: Bundle, fold: int, spec: NetworkSpec, weights: Mapping[str, Any]) -> None:
    """The bundle's network answers as the network that was trained."""
    original = spec.build()
    original.load_state_dict(dict(weights))
    image = torch.randn(1, spec.in_channels, 16, 32, 32, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = original.eval()(image)
        found = bundle.network(fold)(image)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, expected[0] if spec.deep_supervision else expected)
