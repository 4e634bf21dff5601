"""Import a results folder of the MedNeXt authors' code: nnU-Net v1 with pickled plans.

A results folder holds `plans.pkl` and, for each fold, `model_final_checkpoint.model` with the weights beside
`model_final_checkpoint.model.pkl` with the trainer's name and the plans again. The latter two are enough.
Source: MIC-DKFZ/MedNeXt at 0b78ed8, `nnUNetTrainer.process_plans` and `GenericPreprocessor`.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...errors import CheckpointError, IncompatibleCheckpointError
from ...model.description import Channel, Model
from ...model.labels import Label
from ...system.json_reading import Fields, is_unicode, read_json
from ..checkpoint_format import CheckpointFormat
from ..import_options import ImportOptions
from ..import_report import ImportNotes, whole_patch
from ..label_naming import color_of, name_labels
from ..orientation import training_orientation, transposed_orientation
from ..pickles.reading import load_pickle
from ..region_naming import regions_of_task
from ..weights_in_file import load_weights
from .mirroring import mirroring
from .results_folder import (
    FoundFolds,
    check_channels,
    check_same_plans,
    find_folds,
    imported_model,
    named_channels,
    network_of_folds,
    places_of,
)

PLANS_FILE = "plans.pkl"
WEIGHTS = ("model_final_checkpoint.model", "model_best.model")
_WEIGHTS_KEY = "state_dict"
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
_RESAMPLING = {"force_separate_z": None, "interpolation_order": 1, "interpolation_order_z": 0}
_STATISTICS_OF_A_CHANNEL = ("mean", "sd", "percentile_00_5", "percentile_99_5")


def read_v1(
    source: Path, name: str, options: ImportOptions, notes: ImportNotes
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a results folder of nnU-Net v1, or in the file of a fold, and the weights of each fold.

    Raises:
        CheckpointError: something is missing, damaged, or not known here.
        UnsafeCheckpointError: a pickle names a class or function that is not on the whitelist.
        IncompatibleCheckpointError: the network is not a MedNeXt, or does not fit the plans.
    """
    found = find_folds(source, WEIGHTS, options, notes)
    told = {path: _plain(load_pickle(path)) for path in map(_partner, found.files.values())}
    place, pickled = _plans(found, told)
    plans = Fields(pickled, place, CheckpointError)
    trainer_name, number = _trainer(told, place, pickled)
    if re.search("region", trainer_name, re.IGNORECASE):
        raise IncompatibleCheckpointError(
            f"The trainer {trainer_name} trains overlapping regions, whose order nnU-Net v1 does not record. "
            "Such models cannot be imported from nnU-Net v1."
        )
    values = plans.integers("all_classes", 1, 255)
    channels = _channels(plans, options, notes)
    stage = _stage(plans, number)
    transpose = plans.integers("transpose_forward", 0, 2, length=3, default=(0, 1, 2))
    spacing = stage.numbers("current_spacing", 1e-3, 1e3, 3)
    patch = stage.integers("patch_size", 1, 4096, length=3)
    spec, weights = network_of_folds(
        ((fold, file, load_weights(file, notes)) for fold, file in found.files.items()),
        _WEIGHTS_KEY,
        options,
        notes,
    )
    if spec.num_classes != len(values) + 1:
        raise IncompatibleCheckpointError(
            f"The network has {spec.num_classes} output channels, but the plans have the labels "
            f"{list(values)} and the background. Models of overlapping regions cannot be imported from "
            "nnU-Net v1."
        )
    check_channels(spec, channels)
    labels = _labels(values, found, options, notes)
    axes = mirroring(trainer_name, None, labels, options, notes)
    file = next(iter(found.files.values()))
    notes.sources |= dict.fromkeys(("channels", "normalization", "spacing", "patch"), "plans")
    model = imported_model(
        name,
        "nnunet_v1",
        options,
        description=f"Imported from nnU-Net v1, trainer {trainer_name}, {file.name}.",
        network=spec,
        channels=channels,
        labels=labels,
        orientation=transposed_orientation(training_orientation(options, notes), transpose, notes),
        spacing=(spacing[0], spacing[1], spacing[2]),
        patch=whole_patch(patch, spec.dimensions, notes),
        output="softmax",
        mirror_axes=axes,
        keep_largest=_largest_components(found, values, notes),
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


def _partner(weights: Path) -> Path:
    """The file beside the weights, with the trainer's name, its arguments and the plans."""
    return weights.with_name(weights.name + ".pkl")


def _plans(found: FoundFolds, told: Mapping[Path, Any]) -> tuple[str, Any]:
    """The plans, and the file that they are from: the folder's, or the file beside the weights of a fold.

    Raises:
        CheckpointError: there are none.
    """
    files = found.facts((PLANS_FILE,))
    if files:
        return str(files[0]), _plain(load_pickle(files[0]))
    path, first = next(iter(told.items()))
    plans = first.get("plans") if isinstance(first, dict) else None
    if plans is None:
        raise CheckpointError(
            f"There is no {PLANS_FILE}, and {path} has no plans. Copy the file {PLANS_FILE} of the training "
            "into the folder."
        )
    return f"{path}: plans", plans


def _trainer(told: Mapping[Path, Any], place: str, plans: Any) -> tuple[str, int | None]:
    """The name of the trainer of all folds, and the number of the stage if it was given one.

    Raises:
        CheckpointError: a fold was trained with other plans than those of the folder.
        IncompatibleCheckpointError: the folds were trained by different trainers.
    """
    found: dict[tuple[str, int | None], Path] = {}
    for path, content in told.items():
        fields = Fields(content, str(path), CheckpointError)
        theirs = fields.take("plans", None)
        check_same_plans(path, place, theirs, plans, _PREPROCESSING)
        statistics = _intensities(theirs)
        check_same_plans(path, place, statistics, _intensities(plans), tuple(statistics))
        arguments = fields.take("init", [])
        number = arguments[5] if isinstance(arguments, list) and len(arguments) > 5 else None
        if type(number) not in (int, type(None)):
            raise fields.refuse("init", number, "a list whose sixth entry is the number of a stage")
        found[fields.text("name"), number] = path
    if len(found) > 1:
        listed = ", ".join(f"{name}, stage {number}" for name, number in found)
        raise IncompatibleCheckpointError(
            f"The folds were trained differently ({listed}). Import folds of one training only."
        )
    return next(iter(found))


def _intensities(plans: Any) -> dict[str, Any]:
    """The statistics of the training set's intensities in plans, as far as the normalisation uses them."""
    properties = plans.get("dataset_properties") if isinstance(plans, dict) else None
    channels = properties.get("intensityproperties") if isinstance(properties, dict) else None
    if not isinstance(channels, dict):
        return {}
    return {
        f"{key} of channel {channel}": values[key]
        for channel, values in channels.items()
        if isinstance(values, dict)
        for key in _STATISTICS_OF_A_CHANNEL
        if key in values
    }


def _stage(plans: Fields, number: int | None) -> Fields:
    """The stage of this number; for None the one of full resolution."""
    stages = plans.fields("plans_per_stage")
    last = plans.integer("num_stages", 1, 9) - 1
    return stages.fields(str(last if number is None else number))


def _channels(plans: Fields, options: ImportOptions, notes: ImportNotes) -> tuple[Channel, ...]:
    preprocessor = plans.text("preprocessor_name", _PREPROCESSOR)
    if preprocessor != _PREPROCESSOR:
        raise CheckpointError(
            f"The plans preprocess images with {preprocessor!r}; only {_PREPROCESSOR!r} (three-dimensional, "
            "default resampling) can be imported from nnU-Net v1."
        )
    resampling = plans.take("segmentation_export_params", _RESAMPLING)
    if resampling != _RESAMPLING:
        raise plans.refuse("segmentation_export_params", resampling, f"{_RESAMPLING}, the default")
    modalities = plans.fields("modalities")
    schemes = plans.fields("normalization_schemes")
    masks = plans.fields("use_mask_for_norm")
    count = plans.integer("num_modalities", 1, 64)
    properties = plans.fields("dataset_properties")
    intensities = properties.fields("intensityproperties") if properties.has("intensityproperties") else None
    normalizations = [
        _normalization(schemes.text(key), masks.flag(key), intensities, key) for key in map(str, range(count))
    ]
    return named_channels([modalities.text(str(n)) for n in range(count)], normalizations, options, notes)


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


def _labels(
    values: Sequence[int], found: FoundFolds, options: ImportOptions, notes: ImportNotes
) -> tuple[Label, ...]:
    """The labels with the user's names, those of `dataset.json`, or those of the task."""
    files = found.facts(("dataset.json",))
    known = _label_names(files[0]) if files else None
    if known is not None and set(known) != set(values):
        raise CheckpointError(
            f"{files[0]} names the labels {sorted(known)}, but the plans have {sorted(values)}. Remove the "
            "file, or put that of the training in its place."
        )
    notes.sources["labels"] = "given" if options.labels else "dataset.json" if known else "task"
    if not (options.labels or known or options.task):
        try:
            return name_labels(values, options)
        except CheckpointError as error:
            notes.ask("labels", error)
            return tuple(Label(value, f"label {value}", color_of(value)) for value in values)
    return name_labels(values, options, known)


def _label_names(path: Path) -> dict[int, str]:
    """The names in `dataset.json`, if it was put into the results folder."""
    fields = Fields(read_json(path, CheckpointError), str(path), CheckpointError)
    labels = fields.take("labels")
    numbers = isinstance(labels, dict) and all(re.fullmatch(r"0|[1-9][0-9]{0,4}", value) for value in labels)
    if not numbers or not all(isinstance(name, str) and is_unicode(name) for name in labels.values()):
        raise fields.refuse("labels", labels, "a name for each number, as nnU-Net v1 has it")
    return {int(value): name for value, name in labels.items() if value != "0"}


def _largest_components(found: FoundFolds, values: tuple[int, ...], notes: ImportNotes) -> tuple[int, ...]:
    """The labels of which, by cross-validation, only the largest component should be kept."""
    path = found.places[0] / "postprocessing.json"
    if not path.is_file():
        return ()
    fields = Fields(read_json(path, CheckpointError), str(path), CheckpointError)
    chosen = fields.take("for_which_classes", None) or []
    groups = (
        [item if isinstance(item, list) else [item] for item in chosen] if isinstance(chosen, list) else None
    )
    if groups is None or not all(type(value) is int for group in groups for value in group):
        raise fields.refuse("for_which_classes", chosen, "a list of label values, or of lists of them")
    if groups and fields.take("min_valid_object_sizes", None) not in (None, "None", "{}"):
        notes.remark(
            f"The clean-up of the labels {chosen} is left out: nnU-Net's spares parts above a measured size."
        )
        return ()
    kept = tuple(group[0] for group in groups if len(group) == 1 and group[0] in values)
    left_out = [group for group in groups if len(group) != 1]
    if left_out:
        notes.remark(f"The clean-up of several labels as one, {left_out}, is left out.")
    return tuple(dict.fromkeys(kept))


def _accepts(source: Path) -> bool:
    """True for a folder with plans or weights of nnU-Net v1, and for a file of weights with its partner."""
    if source.is_file():
        return source.name in WEIGHTS or _partner(source).is_file()
    inner = ("", "fold_*/", "all/")
    return any(
        any(source.glob(f"{folder}{file}")) for folder in inner for file in (PLANS_FILE, *WEIGHTS)
    ) or any((place / PLANS_FILE).is_file() for place in places_of(source))


NNUNET_V1 = CheckpointFormat("nnU-Net v1", _accepts, read_v1, PLANS_FILE)
