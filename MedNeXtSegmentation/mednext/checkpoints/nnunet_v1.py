"""Import a results folder of the MedNeXt authors' code: nnU-Net v1 with pickled plans.

A results folder holds `plans.pkl` and, for each fold, `model_final_checkpoint.model` with the weights beside
`model_final_checkpoint.model.pkl` with the trainer's name and the plans again.
Source: MIC-DKFZ/MedNeXt at 0b78ed8, `nnUNetTrainer.process_plans` and `GenericPreprocessor`.
"""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import CheckpointError, IncompatibleCheckpointError
from ..model.description import Channel, Model
from ..system.json_reading import Fields, is_unicode, read_json
from .checkpoint_format import CheckpointFormat
from .import_options import ImportOptions, WhichWeights
from .label_naming import find_task, name_labels
from .mirroring import mirroring
from .orientation import training_orientation, transposed_orientation
from .pickles.reading import load_pickle, load_torch
from .region_naming import regions_of_task
from .results_folder import check_channels, check_same_plans, fold_files, named_channels, network_of_folds

logger = logging.getLogger(__name__)

PLANS_FILE = "plans.pkl"
WEIGHTS: dict[WhichWeights, str] = {"final": "model_final_checkpoint.model", "best": "model_best.model"}
_PREPROCESSOR = "GenericPreprocessor"
_PREPROCESSING = (
    "plans_per_stage",
    "all_classes",
    "num_modalities",
    "modalities",
    "normalization_schemes",
    "use_mask_for_norm",
    "transpose_forward",
    "preprocessor_name",
)


def read_v1_folder(
    folder: Path, name: str, options: ImportOptions
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a results folder of nnU-Net v1, and the weights of each fold.

    Raises:
        CheckpointError: something is missing, damaged, or not known here.
        UnsafeCheckpointError: a pickle names a class or function that is not on the whitelist.
        IncompatibleCheckpointError: the network is not a MedNeXt, or does not fit the plans.
    """
    files = fold_files(folder, WEIGHTS[options.checkpoint], options, all_folder="all")
    pickled = _plain(load_pickle(folder / PLANS_FILE))
    plans = Fields(pickled, str(folder / PLANS_FILE), CheckpointError)
    trainer_name, number = _trainer(files, pickled)
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
    labels = name_labels(values, options, _label_names(folder))
    axes, remark = mirroring(trainer_name, None, labels, options)
    stage = _stage(plans, number)
    transpose = plans.integers("transpose_forward", 0, 2, length=3, default=(0, 1, 2))
    spacing = stage.numbers("current_spacing", 1e-3, 1e3, 3)
    patch = stage.integers("patch_size", 1, 4096, length=3)
    labels = name_labels(values, options, _label_names(folder))
    model = Model(
        name=name,
        version=options.version,
        task=find_task(options.task).name if options.task else name,
        title=options.title or f"{name} (nnU-Net v1)",
        description=(
            f"Imported from nnU-Net v1, trainer {trainer_name}, {options.checkpoint} checkpoint. {remark}"
        ).strip(),
        network=spec,
        channels=channels,
        labels=labels,
        orientation=transposed_orientation(training_orientation(options), transpose),
        spacing=(spacing[0], spacing[1], spacing[2]),
        patch=(patch[0], patch[1], patch[2]),
        pipeline="nnunet_v1",
        output="softmax",
        mirror_axes=axes,
        keep_largest=_largest_components(folder, values),
        licence=options.licence,
        citation=options.citation,
        training_data=options.training_data,
        regions=regions_of_task(labels, options),
    )
    return model, weights


def _plain(value: Any) -> Any:
    """The same value as JSON has it: text keys, lists, Python's numbers.

    Raises `CheckpointError` if two keys become one, such as 0 and "0".
    """
    if isinstance(value, dict):
        plain = {str(key): _plain(item) for key, item in value.items()}
        if len(plain) < len(value):
            raise CheckpointError(
                f"The plans have a field twice, with different types, among {reprlib.repr(list(value))}. Get "
                "the file again."
            )
        return plain
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _trainer(files: Mapping[int, Path], plans: Any) -> tuple[str, int | None]:
    """The name of the trainer of all folds, and the number of the stage if it was given one.

    Raises:
        CheckpointError: a fold was trained with other plans than those of the folder.
        IncompatibleCheckpointError: the folds were trained by different trainers.
    """
    found: dict[tuple[str, int | None], Path] = {}
    for weights in files.values():
        path = weights.with_name(weights.name + ".pkl")
        told = Fields(_plain(load_pickle(path)), str(path), CheckpointError)
        check_same_plans(path, PLANS_FILE, told.take("plans", None), plans, _PREPROCESSING)
        arguments = told.take("init", [])
        number = arguments[5] if isinstance(arguments, list) and len(arguments) > 5 else None
        if type(number) not in (int, type(None)):
            raise told.refuse("init", number, "a list whose sixth entry is the number of a stage")
        found[told.text("name"), number] = path
    if len(found) > 1:
        listed = ", ".join(f"{name}, stage {number}" for name, number in found)
        raise IncompatibleCheckpointError(
            f"The folds were trained differently ({listed}). Import folds of one training only."
        )
    return next(iter(found))


def _weights(path: Path) -> dict[str, Tensor]:
    checkpoint = load_torch(path)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} has no 'state_dict', so it is not a checkpoint of nnU-Net v1.")
    return state


def _stage(plans: Fields, number: int | None) -> Fields:
    """The stage of this number; for None the one of full resolution."""
    stages = plans.fields("plans_per_stage")
    last = plans.integer("num_stages", 1, 9) - 1
    return stages.fields(str(last if number is None else number))


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
    """The names in `dataset.json`, if somebody has put it into the results folder."""
    path = folder / "dataset.json"
    if not path.is_file():
        return None
    fields = Fields(read_json(path, CheckpointError), str(path), CheckpointError)
    labels = fields.take("labels")
    numbers = isinstance(labels, dict) and all(re.fullmatch(r"0|[1-9][0-9]{0,4}", value) for value in labels)
    if not numbers or not all(isinstance(name, str) and is_unicode(name) for name in labels.values()):
        raise fields.refuse("labels", labels, "a name for each number, as nnU-Net v1 has it")
    return {int(value): name for value, name in labels.items() if value != "0"}


def _largest_components(folder: Path, values: tuple[int, ...]) -> tuple[int, ...]:
    """The labels of which, by cross-validation, only the largest component should be kept."""
    path = folder / "postprocessing.json"
    if not path.is_file():
        return ()
    fields = Fields(read_json(path, CheckpointError), str(path), CheckpointError)
    chosen = fields.take("for_which_classes", None) or []
    groups = (
        [item if isinstance(item, list) else [item] for item in chosen] if isinstance(chosen, list) else None
    )
    if groups is None or not all(type(value) is int for group in groups for value in group):
        raise fields.refuse("for_which_classes", chosen, "a list of label values, or of lists of them")
    kept = tuple(group[0] for group in groups if len(group) == 1 and group[0] in values)
    left_out = [group for group in groups if len(group) != 1]
    if left_out:
        logger.warning("%s: the clean-up of several labels as one, %s, is left out.", path, left_out)
    return tuple(dict.fromkeys(kept))


NNUNET_V1 = CheckpointFormat(
    "nnU-Net v1", lambda source: (source / PLANS_FILE).is_file(), read_v1_folder, PLANS_FILE, WEIGHTS
)
