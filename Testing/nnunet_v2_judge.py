"""nnU-Net v2 itself, run on a case of ours: what our pipeline is held against.

Its sums are kept in fp32 here; by default they are in fp16, which alone moves 0.2 % of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from mednext.bundle import Bundle, Model
from mednext.volume import Volume
from nnunetv2.inference import predict_from_raw_data as prediction
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from pytest import MonkeyPatch

_SCHEMES = {
    "ct": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "zscore_masked": "ZScoreNormalization",
    "rescale": "RescaleTo01Normalization",
    "none": "NoNormalization",
}


@dataclass(frozen=True)
class Verdict:
    """What nnU-Net makes of a case: its preprocessed image `(C, Z, Y, X)` and its labels `(Z, Y, X)`."""

    image: np.ndarray
    labels: np.ndarray


class _Fp32Torch:
    """torch as nnU-Net's predictor sees it, with full precision where it asks for half."""

    half = torch.float32

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def preprocess_by_nnunet(volume: Volume, model: Model) -> tuple[np.ndarray, dict[str, Any]]:
    """The preprocessed image `(C, Z, Y, X)`, and the properties that nnU-Net needs for the way back."""
    plans = PlansManager(_plans(model))
    properties: dict[str, Any] = {"spacing": list(volume.geometry.spacing[::-1])}
    configuration = plans.get_configuration("3d_fullres")
    image, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        volume.array, None, properties, plans, configuration, _dataset(model)
    )
    return image, properties


class Judge:
    """nnU-Net's predictor with the networks of a bundle, on the CPU and with fp32 sums.

    Images must be in the model's orientation: nnU-Net takes axes as they are stored.
    """

    def __init__(self, bundle: Bundle, mirroring: bool, patcher: MonkeyPatch) -> None:
        model = bundle.model
        patcher.setattr(prediction, "torch", _Fp32Torch())
        gaussian = partial(prediction.compute_gaussian, dtype=torch.float32)
        patcher.setattr(prediction, "compute_gaussian", gaussian)
        self._plans = PlansManager(_plans(model))
        self._configuration = self._plans.get_configuration("3d_fullres")
        self._predictor = prediction.nnUNetPredictor(
            tile_step_size=model.step,
            use_mirroring=mirroring,
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        networks = [bundle.network(fold.index) for fold in model.folds]
        self._predictor.manual_initialization(
            networks[0],
            self._plans,
            self._configuration,
            [{name: value.clone() for name, value in network.state_dict().items()} for network in networks],
            _dataset(model),
            "nnUNetTrainer",
            model.mirror_axes,
        )

    def logits(self, image: np.ndarray) -> torch.Tensor:
        """Logits `(classes, Z, Y, X)` of a preprocessed image `(C, Z, Y, X)`."""
        return self._predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image))

    def labels(self, logits: torch.Tensor, properties: dict[str, Any]) -> np.ndarray:
        """Labels `(Z, Y, X)` on the grid of the image before preprocessing."""
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            self._plans,
            self._configuration,
            self._predictor.label_manager,
            properties,
            num_threads_torch=1,
        )


def segment_by_nnunet(volume: Volume, bundle: Bundle, mirroring: bool, patcher: MonkeyPatch) -> Verdict:
    """Preprocess, predict and export with nnU-Net's own code; `volume` is in the model's orientation."""
    judge = Judge(bundle, mirroring, patcher)
    image, properties = preprocess_by_nnunet(volume, bundle.model)
    return Verdict(image, judge.labels(judge.logits(image), properties))


def _plans(model: Model) -> dict[str, Any]:
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    intensities = {
        str(index): {
            "mean": channel.mean,
            "std": channel.std,
            "percentile_00_5": channel.lower,
            "percentile_99_5": channel.upper,
        }
        for index, channel in enumerate(model.channels)
    }
    configuration = {
        "data_identifier": "3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(model.patch),
        "spacing": list(model.spacing or ()),
        "normalization_schemes": [_SCHEMES[channel.normalization] for channel in model.channels],
        "use_mask_for_norm": [channel.normalization == "zscore_masked" for channel in model.channels],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "order": 1, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": True,
        "architecture": {},  # the network is handed over, never built
    }
    return {
        "dataset_name": "Dataset999_Judge",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": intensities,
    }


def _dataset(model: Model) -> dict[str, Any]:
    labels: dict[str, Any] = {label.name: label.value for label in model.labels}
    regions = {region.name: list(region.labels) for region in model.regions}
    dataset: dict[str, Any] = {
        "labels": {"background": 0, **(regions if model.output == "regions" else labels)},
        "channel_names": {str(index): channel.name for index, channel in enumerate(model.channels)},
        "file_ending": ".nii.gz",
    }
    if model.output == "regions":
        dataset["regions_class_order"] = list(model.regions_class_order)
    return dataset
