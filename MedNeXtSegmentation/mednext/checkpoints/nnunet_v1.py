"""Importing what the MedNeXt authors' code leaves after training: nnU-Net v1 with pickled plans.

A results folder holds `plans.pkl` and, for each fold, `model_final_checkpoint.model` with the weights beside
`model_final_checkpoint.model.pkl` with the trainer's name and the plans again.
Source: MIC-DKFZ/MedNeXt at 0b78ed8, `nnUNetTrainer.process_plans` and `GenericPreprocessor`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import CheckpointError, IncompatibleCheckpointError
from ..fields import Fields, read_json
from ..model import Channel, Model
from .label_naming import find_task, name_labels
from .options import ImportOptions, WhichWeights
from .orientation import training_orientation, transposed_orientation
from .region_naming import regions_of_task
from .results_folder import check_channels, fold_files, named_channels, network_of_folds
from .safe_pickle import load_pickle, load_torch

logger = logging.getLogger(__name__)

PLANS_FILE = "plans.pkl"
WEIGHTS: dict[WhichWeights, str] = {"final": "model_final_checkpoint.model", "best": "model_best.model"}
_PREPROCESSOR = "GenericPreprocessor"


def read_v1_folder(
    folder: Path, name: str, options: ImportOptions
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a results folder of nnU-Net v1, and the weights of each fold.

    Raises:
        CheckpointError: something is missing, damaged, or not known here.
        UnsafeCheckpointError: a pickle asks for something that is not on the whitelist.
        IncompatibleCheckpointError: the network is not a MedNeXt, or does not fit the plans.
    """
    files = fold_files(folder, WEIGHTS[options.checkpoint], options, all_folder="all")
    trainer = _trainer(next(iter(files.values())))
    trainer_name = trainer.text("name")
    plans = _fields(load_pickle(folder / PLANS_FILE), folder / PLANS_FILE)
    spec, weights = network_of_folds({fold: _weights(file) for fold, file in files.items()})

    values = plans.integers("all_classes", 1, 255)
    if spec.num_classes != len(values) + 1:
        raise IncompatibleCheckpointError(
            f"The network has {spec.num_classes} output channels, but the plans have the labels "
            f"{list(values)} and the background. Models of overlapping regions cannot be imported from "
            "nnU-Net v1."
        )
    channels = _channels(plans, options)
    check_channels(spec, channels)
    stage = _stage(plans, trainer)
    transpose = plans.integers("transpose_forward", 0, 2, length=3, default=(0, 1, 2))
    spacing = stage.numbers("current_spacing", 1e-3, 1e3, 3)
    patch = stage.integers("patch_size", 1, 4096, length=3)
    labels = name_labels(values, options, _label_names(folder))
    model = Model(
        name=name,
        version=options.version,
        task=find_task(options.task).name if options.task else name,
        title=options.title or f"{name} (nnU-Net v1)",
        description=f"Imported from nnU-Net v1, trainer {trainer_name}, {options.checkpoint} checkpoint.",
        network=spec,
        channels=channels,
        labels=labels,
        orientation=transposed_orientation(training_orientation(options), transpose),
        spacing=(spacing[0], spacing[1], spacing[2]),
        patch=(patch[0], patch[1], patch[2]),
        pipeline="nnunet_v1",
        output="softmax",
        mirror_axes=() if "noMirroring" in trainer_name else (0, 1, 2),
        keep_largest=_largest_components(folder, values),
        licence=options.licence,
        citation=options.citation,
        training_data=options.training_data,
        regions=regions_of_task(labels, options),
    )
    return model, weights


def _plain(value: Any) -> Any:
    """The same in JSON's terms: text keys, lists, Python's numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist()) if value.dtype != object else None
    return value


def _fields(pickled: Any, path: Path) -> Fields:
    try:
        return Fields(_plain(pickled), str(path), CheckpointError)
    except RecursionError as cause:
        raise CheckpointError(f"{path} is nested without end, which no plans are. Copy it again.") from cause


def _trainer(weights: Path) -> Fields:
    path = weights.with_name(weights.name + ".pkl")
    return _fields(load_pickle(path), path)


def _weights(path: Path) -> dict[str, Tensor]:
    checkpoint = load_torch(path)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} has no 'state_dict', so it is not a checkpoint of nnU-Net v1.")
    return state


def _stage(plans: Fields, trainer: Fields) -> Fields:
    """The stage that was trained: the one that the trainer names, else the one of full resolution."""
    stages = plans.fields("plans_per_stage")
    arguments = trainer.take("init", [])
    number = arguments[5] if isinstance(arguments, list) and len(arguments) > 5 else None
    last = plans.integer("num_stages", 1, 9) - 1
    return stages.fields(str(number if number is not None else last))


def _channels(plans: Fields, options: ImportOptions) -> tuple[Channel, ...]:
    preprocessor = plans.text("preprocessor_name", _PREPROCESSOR)
    if preprocessor != _PREPROCESSOR:
        raise CheckpointError(
            f"The plans preprocess images with {preprocessor!r}; only {_PREPROCESSOR!r} (three-dimensional, "
            "default resampling) can be imported from nnU-Net v1."
        )
    modalities = plans.fields("modalities")
    schemes = plans.fields("normalization_schemes")
    masks = plans.fields("use_mask_for_norm")
    count = plans.integer("num_modalities", 1, 64)
    properties = plans.fields("dataset_properties")
    intensities = properties.fields("intensityproperties") if properties.has("intensityproperties") else None
    normalizations = [
        _normalization(schemes.text(key), masks.flag(key), intensities, key) for key in map(str, range(count))
    ]
    return named_channels([modalities.text(str(n)) for n in range(count)], normalizations, options)


def _normalization(scheme: str, masked: bool, intensities: Fields | None, channel: str) -> Channel:
    if scheme == "CT" and not masked and intensities is not None:
        properties = intensities.fields(channel)
        mean, std = properties.number("mean"), properties.number("sd")
        lower, upper = properties.number("percentile_00_5"), properties.number("percentile_99_5")
        return Channel("", "", "ct", mean, std, lower, upper)
    if scheme == "nonCT":
        return Channel("", "", "zscore_masked" if masked else "zscore")
    if scheme == "noNorm":
        return Channel("", "", "none")
    raise CheckpointError(
        f"The plans normalise a channel by {scheme!r}{' in a mask' if masked else ''}, which cannot be "
        "imported; known are CT with the intensities of the training set, nonCT and noNorm."
    )


def _label_names(folder: Path) -> dict[int, str] | None:
    """The names in `dataset.json`, where someone has put it into the results folder."""
    path = folder / "dataset.json"
    if not path.is_file():
        return None
    labels = Fields(read_json(path, CheckpointError), str(path), CheckpointError).take("labels")
    if not isinstance(labels, dict) or not all(str(value).isdecimal() for value in labels):
        raise CheckpointError(f"{path}: 'labels' must give a name for each number, as nnU-Net v1 has it.")
    return {int(value): str(name) for value, name in labels.items() if int(value) > 0}


def _largest_components(folder: Path, values: tuple[int, ...]) -> tuple[int, ...]:
    """The labels of which cross-validation found it best to keep only the largest component."""
    path = folder / "postprocessing.json"
    if not path.is_file():
        return ()
    chosen = Fields(read_json(path, CheckpointError), str(path), CheckpointError).take(
        "for_which_classes", []
    )
    single = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in chosen or []]
    kept = tuple(value for value in single if value in values)
    if len(kept) < len(single):
        logger.warning(
            "%s: the clean-up of several labels as one, %s, is left out.",
            path,
            [item for item in single if item not in kept],
        )
    return kept
