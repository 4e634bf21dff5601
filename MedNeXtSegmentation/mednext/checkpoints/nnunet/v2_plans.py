"""Read the plans and the data set of nnU-Net v2: configuration, channels with their normalisation, labels."""

from __future__ import annotations

from typing import Any

from ...errors import CheckpointError
from ...model.description import Channel
from ...model.labels import Label, Region
from ...system.json_reading import Fields, is_unicode
from ..import_options import ImportOptions
from ..import_report import ImportNotes
from ..label_naming import name_labels
from ..region_naming import name_regions, regions_of_task
from .results_folder import named_channels

DATASET_FILE = "dataset.json"

_NORMALIZATIONS = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale",
    "NoNormalization": "none",
}
_RESAMPLING = "resample_data_or_seg_to_shape"
_LABEL_MANAGER = "LabelManager"


def read_configuration(plans: Fields, name: str) -> Fields:
    """The plans of a configuration with inherited fields. Unknown kinds of preprocessing are refused.

    Raises:
        CheckpointError: there is no such configuration, or inference cannot follow it.
    """
    manager = plans.text("label_manager", _LABEL_MANAGER)
    if manager != _LABEL_MANAGER:
        raise plans.refuse("label_manager", manager, f"{_LABEL_MANAGER}, the only one known")
    merged = resolved({"configurations": plans.take("configurations")}, name, plans.where)
    patch = merged.get("patch_size")
    if isinstance(patch, list) and len(patch) == 2:
        raise CheckpointError(
            f"The configuration {name!r} is two-dimensional; only three-dimensional ones can be imported."
        )
    configuration = Fields(merged, f"{plans.where}: {name}", CheckpointError)
    _check_known(configuration)
    return configuration


def resolved(plans: Any, name: str, where: str) -> dict[str, Any]:
    """A configuration of plans with the fields that it inherits from others.

    Raises:
        CheckpointError: it is missing, or inherits from itself.
    """
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


def read_channels(
    plans: Fields, dataset: Fields, configuration: Fields, options: ImportOptions, notes: ImportNotes
) -> tuple[Channel, ...]:
    """The channels with the names of the data set and the normalisation of the plans.

    Raises:
        CheckpointError: a name or a statistic is missing, or the normalisation is not known here.
    """
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
    return named_channels([names[str(n)] for n in range(len(names))], normalizations, options, notes)


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


def read_labels(
    dataset: Fields, options: ImportOptions
) -> tuple[tuple[Label, ...], tuple[Region, ...], tuple[int, ...]]:
    """The labels, the regions, and their painting order, which is empty unless they are output channels.

    As in nnU-Net a data set has regions if one of its labels is a list of several values.

    Raises:
        CheckpointError: the labels contradict each other, or one has no name.
    """
    entries = dataset.take("labels")
    if not isinstance(entries, dict) or not all(map(is_unicode, entries)):
        raise dataset.refuse("labels", entries, "an object of label names")
    values = {name: _values(dataset, value) for name, value in entries.items() if name != "ignore"}
    if values.get("background", (0,)) != (0,):
        raise dataset.refuse("labels", entries, "an object in which the background is 0")
    foreground = {name: each for name, each in values.items() if set(each) != {0}}
    if len({frozenset(each) for each in foreground.values()}) < len(foreground):
        raise dataset.refuse("labels", entries, "an object of names with different values")
    if all(len(each) == 1 for each in foreground.values()):
        known = {each[0]: name for name, each in foreground.items()}
        labels = name_labels(sorted(known), options, known)
        return labels, regions_of_task(labels, options), ()
    if any(0 in each for each in foreground.values()):
        raise dataset.refuse("labels", entries, "an object of regions without the background, 0")
    order = dataset.integers("regions_class_order", 1, 255, length=len(foreground))
    if len(set(order)) < len(order):
        raise dataset.refuse("regions_class_order", order, "a list of different values")
    return *name_regions(foreground, order, options), order


def _values(dataset: Fields, value: Any) -> tuple[int, ...]:
    """The values of a label; nnU-Net takes digits for a number."""
    values = value if isinstance(value, list | tuple) else [value]
    values = [
        int(each) if isinstance(each, str) and each.isascii() and each.isdecimal() and len(each) < 4 else each
        for each in values
    ]
    if not values or not all(type(item) is int and 0 <= item <= 255 for item in values):
        raise dataset.refuse("labels", value, "a number from 0 to 255, or a list of such numbers")
    return tuple(values)
