"""Import a results folder of nnU-Net v2, of this project's trainers or of other ports of MedNeXt.

A results folder holds `plans.json`, `dataset.json` and, for each fold, `checkpoint_final.pth`.
Source: nnU-Net 2.8.1, `PlansManager`, `LabelManager` and `nnUNetTrainer.save_checkpoint`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, IncompatibleCheckpointError
from ..model.description import Channel, Model
from ..model.labels import Label, Region
from ..system.json_reading import Fields, is_unicode, read_json
from .checkpoint_format import CheckpointFormat
from .import_options import ImportOptions, WhichWeights
from .label_naming import find_task, name_labels
from .mirroring import mirroring, read_axes
from .orientation import training_orientation, transposed_orientation
from .pickles.reading import load_torch
from .region_naming import name_regions, regions_of_task
from .results_folder import check_channels, check_same_plans, fold_files, named_channels, network_of_folds

PLANS_FILE = "plans.json"

WEIGHTS: dict[WhichWeights, str] = {"final": "checkpoint_final.pth", "best": "checkpoint_best.pth"}
_NORMALIZATIONS = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale",
    "NoNormalization": "none",
}
_MIRRORING = "inference_allowed_mirroring_axes"
_PREPROCESSING = ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm", "preprocessor_name")
_RESAMPLING = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class _Training:
    """The facts about the training in a checkpoint."""

    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...] | None


def read_v2_folder(
    folder: Path, name: str, options: ImportOptions
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a results folder of nnU-Net v2, and the weights of each fold.

    Raises:
        CheckpointError: something is missing, damaged, or not known here.
        UnsafeCheckpointError: a checkpoint names a class or function that is not on the whitelist.
        IncompatibleCheckpointError: the network is not a MedNeXt, or does not fit the plans.
    """
    files = fold_files(folder, WEIGHTS[options.checkpoint], options, all_folder="fold_all")
    plans_in_folder = read_json(folder / PLANS_FILE, CheckpointError)
    read = {fold: _read_checkpoint(file, folder, plans_in_folder) for fold, file in files.items()}
    training = next(iter(read.values()))[1]
    different = [other.configuration for _, other in read.values() if other != training]
    if different:
        raise IncompatibleCheckpointError(
            f"The folds were trained differently ({training.configuration} and {different[0]}, or with other "
            "trainers or mirroring). Import folds of one training only."
        )
    spec, weights = network_of_folds({fold: state for fold, (state, _) in read.items()})

    plans = Fields(plans_in_folder, str(folder / PLANS_FILE), CheckpointError)
    dataset = _fields(folder / "dataset.json")
    configuration = _configuration(plans, training.configuration)
    channels = _channels(plans, dataset, configuration, options)
    check_channels(spec, channels)
    labels, regions, order = _labels(dataset, options)
    outputs = len(regions) if order else len(labels) + 1
    if spec.num_classes != outputs:
        raise IncompatibleCheckpointError(
            f"The network has {spec.num_classes} output channels, which does not fit the "
            f"{len(regions if order else labels)} {'regions' if order else 'labels'} of dataset.json. The "
            "folder's files do not belong together."
        )
    axes, remark = mirroring(training.trainer, training.mirror_axes, (*labels, *regions), options)
    transpose = plans.integers("transpose_forward", 0, 2, length=3)
    reader = plans.text("image_reader_writer", "")
    spacing = configuration.numbers("spacing", 1e-3, 1e3, 3)
    patch = configuration.integers("patch_size", 1, 4096, length=3)
    model = Model(
        name=name,
        version=options.version,
        task=find_task(options.task).name if options.task else name,
        title=options.title or f"{name} (nnU-Net v2)",
        description=(
            f"Imported from nnU-Net v2, trainer {training.trainer}, configuration {training.configuration}, "
            f"{options.checkpoint} checkpoint. {remark}"
        ).strip(),
        network=spec,
        channels=channels,
        labels=labels,
        orientation=transposed_orientation(training_orientation(options, reader), transpose),
        spacing=(spacing[0], spacing[1], spacing[2]),
        patch=(patch[0], patch[1], patch[2]),
        pipeline="nnunet_v2",
        output="regions" if order else "softmax",
        mirror_axes=axes,
        regions_class_order=order,
        licence=options.licence,
        citation=options.citation,
        training_data=options.training_data,
        regions=regions,
    )
    return model, weights


def _fields(path: Path) -> Fields:
    return Fields(read_json(path, CheckpointError), str(path), CheckpointError)


def _read_checkpoint(path: Path, folder: Path, plans: Any) -> tuple[dict[str, Tensor], _Training]:
    checkpoint = load_torch(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("network_weights"), dict):
        raise CheckpointError(f"{path} has no 'network_weights', so it is not a checkpoint of nnU-Net v2.")
    arguments = checkpoint.get("init_args")
    named = folder.name.split("__")  # trainer, plans and configuration, for old checkpoints
    configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
    names = {
        "trainer_name": checkpoint.get("trainer_name", named[0]),
        "configuration": configuration or named[-1],
    }
    fields = Fields(names, str(path), CheckpointError)
    trainer, configuration = fields.text("trainer_name"), fields.text("configuration")
    told = arguments.get("plans") if isinstance(arguments, dict) else None
    if isinstance(told, dict):
        _check_told_plans(told, folder, plans, configuration, path)
    axes = read_axes(checkpoint[_MIRRORING], str(path)) if _MIRRORING in checkpoint else None
    return checkpoint["network_weights"], _Training(trainer, configuration, axes)


def _check_told_plans(told: dict[str, Any], folder: Path, plans: Any, name: str, path: Path) -> None:
    """Refuse a fold whose checkpoint has other plans than the folder, as the preprocessing would be wrong."""
    ours = _resolved(plans, name, str(folder / PLANS_FILE))
    theirs = _resolved(told, name, str(path))
    check_same_plans(path, PLANS_FILE, theirs, ours, _PREPROCESSING)
    check_same_plans(path, PLANS_FILE, told, plans, ("transpose_forward",))


def _configuration(plans: Fields, name: str) -> Fields:
    """The plans of a configuration with inherited fields. Unknown kinds of preprocessing are refused."""
    merged = _resolved({"configurations": plans.take("configurations")}, name, plans.where)
    patch = merged.get("patch_size")
    if isinstance(patch, list) and len(patch) == 2:
        raise CheckpointError(
            f"The configuration {name!r} is two-dimensional; only three-dimensional ones can be imported."
        )
    configuration = Fields(merged, f"{plans.where}: {name}", CheckpointError)
    _check_known(configuration)
    return configuration


def _resolved(plans: Any, name: str, where: str) -> dict[str, Any]:
    """A configuration with the fields that it inherits from others."""
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    merged: dict[str, Any] = {}
    following: str | None = name
    visited: list[str] = []
    while following is not None:
        if not isinstance(configurations, dict) or not isinstance(configurations.get(following), dict):
            raise CheckpointError(f"{where} has no configuration {following!r}. Copy the folder again.")
        if following in visited:
            raise CheckpointError(f"{where}: the configuration {following!r} inherits from itself.")
        visited.append(following)
        merged = {**configurations[following], **merged}
        following = configurations[following].get("inherits_from")
        if not isinstance(following, str | None):
            raise CheckpointError(
                f"{where}: 'inherits_from' must be a configuration's name, not {following}."
            )
    return merged


def _check_known(configuration: Fields) -> None:
    """Refuse plans whose preprocessing differs from nnU-Net's default, the only one that inference knows."""
    preprocessor = configuration.text("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise configuration.refuse(
            "preprocessor_name", preprocessor, "DefaultPreprocessor, the only one known"
        )
    for kind, order in (("data", 3), ("probabilities", 1)):
        function = configuration.text(f"resampling_fn_{kind}", _RESAMPLING)
        if function != _RESAMPLING:
            raise configuration.refuse(
                f"resampling_fn_{kind}", function, f"{_RESAMPLING}, the only one known"
            )
        wanted = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
        arguments = configuration.take(f"resampling_fn_{kind}_kwargs", wanted)
        if arguments != wanted:
            raise configuration.refuse(f"resampling_fn_{kind}_kwargs", arguments, f"{wanted}, the default")
    if configuration.has("previous_stage"):
        raise configuration.refuse(
            "previous_stage", configuration.take("previous_stage"), "absent: no cascades"
        )


def _channels(
    plans: Fields, dataset: Fields, configuration: Fields, options: ImportOptions
) -> tuple[Channel, ...]:
    schemes = configuration.take("normalization_schemes")
    masks = configuration.take("use_mask_for_norm")
    names = dataset.take("channel_names", None) or dataset.take("modality")
    if not (isinstance(schemes, list) and isinstance(masks, list) and len(schemes) == len(masks)):
        raise configuration.refuse("normalization_schemes", schemes, "a list as long as 'use_mask_for_norm'")
    if not all(isinstance(mask, bool) for mask in masks):
        raise configuration.refuse("use_mask_for_norm", masks, "a list of true and false")
    numbered = isinstance(names, dict) and set(names) == {str(n) for n in range(len(names))}
    if not numbered or not all(isinstance(name, str) and is_unicode(name) for name in names.values()):
        raise dataset.refuse("channel_names", names, "a name for each of the numbers 0, 1, ...")
    key = "foreground_intensity_properties_per_channel"
    intensities = plans.fields(key if plans.has(key) else "foreground_intensity_properties_by_modality")
    normalizations = [
        _normalization(scheme, mask, intensities, str(n))
        for n, (scheme, mask) in enumerate(zip(schemes, masks, strict=True))
    ]
    return named_channels([names[str(n)] for n in range(len(names))], normalizations, options)


def _normalization(scheme: Any, masked: bool, intensities: Fields, channel: str) -> Channel:
    kind = _NORMALIZATIONS.get(scheme) if isinstance(scheme, str) else None
    if kind is None:
        raise CheckpointError(
            f"The plans normalise channel {channel} by {scheme!r}, which cannot be imported; known are "
            f"{', '.join(_NORMALIZATIONS)}."
        )
    if kind == "zscore" and masked:
        kind = "zscore_masked"
    if kind != "ct":
        return Channel("", "", kind)
    properties = intensities.fields(channel)
    mean, std = properties.number("mean"), properties.number("std")
    lower, upper = properties.number("percentile_00_5"), properties.number("percentile_99_5")
    return Channel("", "", "ct", mean, std, lower, upper)


def _labels(
    dataset: Fields, options: ImportOptions
) -> tuple[tuple[Label, ...], tuple[Region, ...], tuple[int, ...]]:
    """The labels, the regions, and their painting order, which is empty unless they are output channels."""
    entries = dataset.take("labels")
    if not isinstance(entries, dict) or not all(map(is_unicode, entries)):
        raise dataset.refuse("labels", entries, "an object of label names")
    foreground = {name: _values(dataset, value) for name, value in entries.items() if name != "ignore"}
    foreground = {name: values for name, values in foreground.items() if set(values) != {0}}
    if len({frozenset(values) for values in foreground.values()}) < len(foreground):
        raise dataset.refuse("labels", entries, "an object of names with different values")
    if not any(isinstance(value, list) for value in entries.values()):
        known = {values[0]: name for name, values in foreground.items()}
        labels = name_labels(sorted(known), options, known)
        return labels, regions_of_task(labels, options), ()
    order = dataset.integers("regions_class_order", 1, 255, length=len(foreground))
    if len(set(order)) < len(order):
        raise dataset.refuse("regions_class_order", order, "a list of different values")
    return *name_regions(foreground, order, options), order


def _values(dataset: Fields, value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(item) is int and 0 <= item <= 255 for item in values):
        raise dataset.refuse("labels", value, "a number from 0 to 255, or a list of such numbers")
    return tuple(values)


NNUNET_V2 = CheckpointFormat(
    "nnU-Net v2", lambda source: (source / PLANS_FILE).is_file(), read_v2_folder, PLANS_FILE, WEIGHTS
)
