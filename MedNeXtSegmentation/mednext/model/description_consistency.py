"""Refuse a model's description whose parts contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from ..errors import BundleFormatError, OptionError
from ..network.patch_sides import check_patch
from .description import Model
from .labels import MAX_LABEL
from .location import SIDES
from .regions import painted_values


def check_model(model: Model) -> None:
    """Refuse a model whose labels, channels, patch or folds do not fit its network or each other.

    Raises:
        BundleFormatError: with the field and the values that do not fit.
    """
    _check_channels(model)
    _check_labels(model)
    _check_names_of_regions(model)
    if model.output == "softmax":
        _check_softmax(model)
    else:
        _check_regions(model)
    _check_tiles(model)
    _check_location(model)
    _check_unique(model, "folds", [fold.index for fold in model.folds])
    _check_unique(model, "folds", [fold.file for fold in model.folds])


def _refusal(model: Model, sentence: str) -> BundleFormatError:
    return BundleFormatError(f"Model {model.name!r}: {sentence}")


def _check_unique(model: Model, field: str, values: Sequence[Hashable]) -> None:
    if len(set(values)) < len(values):
        twice, _ = Counter(values).most_common(1)[0]
        raise _refusal(model, f"'{field}' has {twice!r} twice. Each may be there once.")


def _check_channels(model: Model) -> None:
    if len(model.channels) != model.network.in_channels:
        raise _refusal(
            model,
            f"'channels' lists {len(model.channels)}, but the network takes {model.network.in_channels} "
            "(network.in_channels). Correct one of them.",
        )
    _check_unique(model, "channels", [channel.name for channel in model.channels])


def _check_labels(model: Model) -> None:
    values = [label.value for label in model.labels]
    _check_unique(model, "labels", values)
    _check_unique(model, "labels", [label.name for label in model.labels])
    unknown = sorted(set(model.keep_largest) - set(values))
    if unknown:
        raise _refusal(
            model, f"'keep_largest' names label {unknown[0]}, which is not among the labels {values}."
        )


def _check_names_of_regions(model: Model) -> None:
    values = {label.value for label in model.labels}
    _check_unique(model, "regions", [region.name for region in model.regions])
    _check_unique(model, "regions", [tuple(sorted(region.labels)) for region in model.regions])
    for region in model.regions:
        same = [label for label in model.labels if label.name == region.name]
        if same and set(region.labels) & values != {same[0].value}:
            raise _refusal(
                model,
                f"{region.name!r} is the name of label {same[0].value} and of the region of the labels "
                f"{list(region.labels)}. Give each a name of its own.",
            )


def _check_softmax(model: Model) -> None:
    values = [label.value for label in model.labels]
    if len(values) + 1 != model.network.num_classes:
        raise _refusal(
            model,
            f"there are {len(values)} labels, but the network has {model.network.num_classes} output "
            "channels; it must have one per label and one for the background. List every label.",
        )
    if values != list(range(1, len(values) + 1)):
        raise _refusal(
            model,
            f"the label values are {values}; with a softmax output they must be 1 to {len(values)} in this "
            "order.",
        )
    if model.regions_class_order or any(label.region for label in model.labels):
        raise _refusal(
            model,
            "'regions_class_order' and the labels' 'region' belong to models of overlapping regions, but "
            "'output' is 'softmax'. Remove them, or set 'output' to 'regions'.",
        )
    unknown = sorted({value for region in model.regions for value in region.labels} - set(values))
    if unknown:
        raise _refusal(model, f"'regions' has label {unknown[0]}, which is not among the labels {values}.")


def _check_regions(model: Model) -> None:
    values = [label.value for label in model.labels]
    if any(label.region for label in model.labels):
        raise _refusal(
            model,
            "the labels' 'region' is the form of the first versions, in which every label must have one, and "
            f"'regions_class_order' each of the label values {values} once. Use 'regions'.",
        )
    if len(model.regions) != model.network.num_classes:
        raise _refusal(
            model,
            f"there are {len(model.regions)} regions, but the network has {model.network.num_classes} output "
            "channels; with regions it must have one per region. List every region.",
        )
    _check_unique(model, "regions_class_order", model.regions_class_order)
    if len(model.regions_class_order) != len(model.regions):
        raise _refusal(
            model,
            f"'regions_class_order' is {list(model.regions_class_order)}, but must have the label of each of "
            f"the {len(model.regions)} regions once, in the order of painting.",
        )
    for region, value in zip(model.regions, model.regions_class_order, strict=True):
        if value not in region.labels:
            raise _refusal(
                model,
                f"'regions_class_order' paints the region {region.name!r} with label {value}, which is not "
                f"among its labels {list(region.labels)}. Correct one of them.",
            )
    wanted = painted_values(model.regions, model.regions_class_order)
    if sorted(values) != wanted:
        raise _refusal(
            model, f"the label values are {values}, but its regions give {wanted}. List every label."
        )


def _check_tiles(model: Model) -> None:
    sides = model.patch if model.network.dimensions == 3 else model.patch[1:]
    try:
        check_patch(sides)
    except OptionError as error:
        raise _refusal(model, f"'patch' is {list(model.patch)}. {error}") from error
    if model.network.dimensions == 2 and (model.patch[0] != 1 or 0 in model.mirror_axes):
        raise _refusal(
            model,
            f"the network is two-dimensional, but 'patch' is {list(model.patch)} and 'mirror_axes' "
            f"{list(model.mirror_axes)}; the patch must have one plane and no mirroring along axis 0.",
        )
    _check_unique(model, "mirror_axes", model.mirror_axes)


def _check_location(model: Model) -> None:
    if model.location is None:
        return
    if model.field_of_view is None:
        raise _refusal(
            model,
            "'location' is for models that were trained on crops, but 'field_of_view' is missing. Give the "
            "size of the largest training image, or leave out 'location'.",
        )
    largest = max(label.value for label in model.labels)
    if largest * (len(SIDES) + 1) > MAX_LABEL:
        raise _refusal(
            model,
            f"label {largest} is too large for a model with 'location': both sides get values of their own, "
            f"up to {MAX_LABEL}. Number the labels from 1.",
        )
