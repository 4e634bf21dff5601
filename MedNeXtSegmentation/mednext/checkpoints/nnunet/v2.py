"""Import a results folder of nnU-Net v2, of this project's trainers or of other ports of MedNeXt.

A results folder holds `plans.json`, `dataset.json` and, for each fold, `checkpoint_final.pth`. Some publish
`nnUNetPlans.json`, the weights as `model.safetensors` with the rest of the checkpoint in `metadata.json`, or
a checkpoint alone, which has plans and data set too.
Source: nnU-Net 2.8.1, `PlansManager`, `LabelManager` and `nnUNetTrainer.save_checkpoint`.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import CheckpointError, IncompatibleCheckpointError, OptionError
from ...model.description import Model
from ...system.json_reading import Fields, read_json
from ..checkpoint_format import CheckpointFormat
from ..import_options import ImportOptions
from ..import_report import ImportNotes, whole_patch
from ..orientation import training_orientation, transposed_orientation
from ..weights_in_file import SAFETENSORS, load_weights
from .mirroring import mirroring, read_axes
from .results_folder import (
    FoundFolds,
    check_channels,
    check_same_plans,
    find_folds,
    imported_model,
    network_of_folds,
    places_of,
)
from .v2_plans import DATASET_FILE, read_channels, read_configuration, read_labels, resolved

logger = logging.getLogger(__name__)

PLANS_FILES = ("plans.json", "nnUNetPlans.json")
WEIGHTS = ("checkpoint_final.pth", "checkpoint_best.pth", "model.safetensors")

_METADATA_FILE = "metadata.json"
_WEIGHTS_KEY = "network_weights"
_MIRRORING = "inference_allowed_mirroring_axes"
_PREPROCESSING = ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm", "preprocessor_name")
_INTENSITIES = (
    "foreground_intensity_properties_per_channel",
    "foreground_intensity_properties_by_modality",
)
_OF_THE_DATASET = ("transpose_forward", "image_reader_writer", *_INTENSITIES)
_MAX_PICKLE_BYTES = 2**28


@dataclass(frozen=True)
class _Training:
    """The facts about the training in a checkpoint.

    Attributes:
        trainer: name of its class; "" if the checkpoint does not tell.
        configuration: of the plans; "" if the checkpoint does not tell.
        mirror_axes: None if the checkpoint does not tell.
    """

    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...] | None


def read_v2(
    source: Path, name: str, options: ImportOptions, notes: ImportNotes
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a results folder of nnU-Net v2, or in the file of a fold, and the weights of each fold.

    Raises:
        CheckpointError: something is missing, damaged, or not known here.
        UnsafeCheckpointError: a checkpoint names a class or function that is not on the whitelist.
        IncompatibleCheckpointError: the network is not a MedNeXt, or does not fit the plans.
    """
    found = find_folds(source, WEIGHTS, options, notes)
    plans_file, dataset_file = _in_folder(found, PLANS_FILES), _in_folder(found, (DATASET_FILE,))
    told: dict[Path, dict[str, Any]] = {}
    trainings = []

    def contents() -> Iterator[tuple[int, Path, Any]]:
        for fold, file in found.files.items():
            content, told[file], training = _read_checkpoint(file, found, notes)
            trainings.append(training)
            yield fold, file, content

    spec, weights = network_of_folds(contents(), _WEIGHTS_KEY, options, notes)
    plans_place, pickled = plans_file or _told(found, PLANS_FILES, "plans", told)
    dataset_place, labelled = dataset_file or _told(found, (DATASET_FILE,), "dataset_json", told)
    training = _only_training(trainings)
    plans = Fields(pickled, plans_place, CheckpointError)
    dataset = Fields(labelled, dataset_place, CheckpointError)
    used = _used_configuration(training, pickled, places_of(source)[0], options, notes)
    for path, arguments in told.items():
        _check_told_plans(arguments.get("plans"), pickled, used, path, plans_place)
        _check_told_dataset(arguments.get("dataset_json"), labelled, path, dataset_place)
    configuration = read_configuration(plans, used)
    channels = read_channels(plans, dataset, configuration, options, notes)
    check_channels(spec, channels)
    labels, regions, order = read_labels(dataset, options)
    outputs = len(regions) if order else len(labels) + 1
    if spec.num_classes != outputs:
        raise IncompatibleCheckpointError(
            f"The network has {spec.num_classes} output channels, which does not fit the "
            f"{len(regions if order else labels)} {'regions' if order else 'labels'} of {DATASET_FILE}. The "
            "folder's files do not belong together."
        )
    trainer = training.trainer or _named(places_of(source)[0])[0] or "unknown"
    axes = mirroring(trainer, training.mirror_axes, (*labels, *regions), options, notes)
    transpose = plans.integers("transpose_forward", 0, 2, length=3)
    reader = plans.text("image_reader_writer", "", empty=True)
    spacing = configuration.numbers("spacing", 1e-3, 1e3, 3)
    patch = configuration.integers("patch_size", 1, 4096, length=3)
    file = next(iter(found.files.values()))
    notes.sources |= {"labels": "given" if options.labels else DATASET_FILE, "channels": DATASET_FILE}
    notes.sources |= dict.fromkeys(("normalization", "spacing", "patch"), f"plans, configuration {used}")
    model = imported_model(
        name,
        "nnunet_v2",
        options,
        description=f"Imported from nnU-Net v2, trainer {trainer}, configuration {used}, {file.name}.",
        network=spec,
        channels=channels,
        labels=labels,
        orientation=transposed_orientation(training_orientation(options, notes, reader), transpose, notes),
        spacing=(spacing[0], spacing[1], spacing[2]),
        patch=whole_patch(patch, spec.dimensions, notes),
        output="regions" if order else "softmax",
        mirror_axes=axes,
        regions_class_order=order,
        regions=regions,
    )
    return model, weights


def _read_checkpoint(
    path: Path, found: FoundFolds, notes: ImportNotes
) -> tuple[Any, dict[str, Any], _Training]:
    """The contents of a fold's file, the trainer's arguments, and the training's facts."""
    checkpoint = load_weights(path, notes)
    told = checkpoint if isinstance(checkpoint, dict) else {}
    if path.suffix == SAFETENSORS:
        told = _metadata(path, found)
    arguments = told.get("init_args")
    arguments = dict(arguments) if isinstance(arguments, dict) else {}
    for key in ("configuration", "plans", "dataset_json"):
        if key in told:
            arguments.setdefault(key, told[key])
    names = {
        "trainer_name": told.get("trainer_name", ""),
        "configuration": arguments.get("configuration") or "",
    }
    fields = Fields(names, str(path), CheckpointError)
    axes = read_axes(told[_MIRRORING], str(path)) if _MIRRORING in told else None
    trainer = fields.text("trainer_name") if "trainer_name" in told else ""
    return checkpoint, arguments, _Training(trainer, fields.text("configuration", empty=True), axes)


def _metadata(path: Path, found: FoundFolds) -> dict[str, Any]:
    """The rest of a checkpoint whose weights are a safetensors file, in a JSON file beside it."""
    places = (path.parent, *found.places)
    file = next((place / _METADATA_FILE for place in places if (place / _METADATA_FILE).is_file()), None)
    document = read_json(file, CheckpointError) if file else {}
    if not isinstance(document, dict):
        raise CheckpointError(f"{file} must be a JSON object, as nnU-Net's checkpoint is one. Copy it again.")
    return document


def _in_folder(found: FoundFolds, names: tuple[str, ...]) -> tuple[str, Any] | None:
    """The place and the content of the plans or the data set in the folder; None where it has none.

    Raises:
        CheckpointError: there are several that differ.
    """
    files = found.facts(names)
    if not files:
        return None
    first = read_json(files[0], CheckpointError)
    for other in files[1:]:
        if read_json(other, CheckpointError) != first:
            raise CheckpointError(f"{files[0]} and {other} differ. Remove that of another training.")
    return str(files[0]), first


def _told(
    found: FoundFolds, names: tuple[str, ...], argument: str, told: Mapping[Path, Mapping[str, Any]]
) -> tuple[str, Any]:
    """The place and the content of the plans or the data set in a checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    for path, arguments in told.items():
        if argument in arguments:
            return f"{path}: {argument}", arguments[argument]
    raise CheckpointError(
        f"There is no {' nor '.join(names)} in {found.places[0]}, and the checkpoint has no {argument!r}. "
        "Copy this file of the training into the folder."
    )


def _only_training(trainings: list[_Training]) -> _Training:
    training = trainings[0]
    different = [other.configuration for other in trainings if other != training]
    if different:
        raise IncompatibleCheckpointError(
            f"The folds were trained differently ({training.configuration} and {different[0]}, or with other "
            "trainers or mirroring). Import folds of one training only."
        )
    return training


def _named(folder: Path) -> tuple[str, str]:
    """Trainer and configuration by the name that nnU-Net gives a results folder; "" for another name."""
    parts = folder.name.split("__")
    return (parts[0], parts[2]) if len(parts) == 3 else ("", "")


def _used_configuration(
    training: _Training, plans: Any, folder: Path, options: ImportOptions, notes: ImportNotes
) -> str:
    """The configuration that was trained, as checkpoint, user, the folder's name or the plans tell."""
    if training.configuration:
        if options.configuration not in (None, training.configuration):
            raise OptionError(
                f"The checkpoint was trained with the configuration {training.configuration!r}, not "
                f"{options.configuration!r}. Leave the configuration out."
            )
        return training.configuration
    known = plans.get("configurations") if isinstance(plans, dict) else None
    named = _named(folder)[1]
    if options.configuration or (isinstance(known, dict) and named in known):
        return options.configuration or named
    if not isinstance(known, dict) or not known:
        return "3d_fullres"  # the error is raised where the configuration is read
    spatial = [key for key in known if isinstance(key, str) and key.startswith("3d")] or [
        str(key) for key in known
    ]
    if len(spatial) > 1:
        notes.ask(
            "configuration",
            CheckpointError(
                "The checkpoint does not say which configuration of the plans was trained: "
                f"{', '.join(spatial)}. Say it (--configuration NAME)."
            ),
            spatial,
        )
    return spatial[0]


def _check_told_plans(told: Any, plans: Any, name: str, path: Path, place: str) -> None:
    """Refuse a fold whose checkpoint has other plans than the folder, as the preprocessing would be wrong."""
    if not isinstance(told, dict):
        return
    ours = resolved(plans, name, place)
    theirs = resolved(told, name, str(path))
    check_same_plans(path, place, theirs, ours, _PREPROCESSING)
    check_same_plans(path, place, told, plans, _OF_THE_DATASET)


def _check_told_dataset(told: Any, dataset: Any, path: Path, place: str) -> None:
    """Refuse a fold whose checkpoint names labels or channels otherwise, or has regions in another order."""
    if not isinstance(told, dict) or not isinstance(dataset, dict):
        return
    for key in ("labels", "regions_class_order", "channel_names", "modality"):
        ours, theirs = dataset.get(key), told.get(key)
        same = _ordered(ours) == _ordered(theirs) if key == "labels" else ours == theirs
        if key in told and not same:
            raise CheckpointError(
                f"{path} was trained with another data set than {place} has: they differ in {key!r}. Put the "
                f"{DATASET_FILE} of that training into the folder."
            )


def _ordered(labels: Any) -> Any:
    """Labels with their order, in which the regions are the network's output channels."""
    if not isinstance(labels, dict):
        return labels
    items = [(key, list(value) if isinstance(value, tuple) else value) for key, value in labels.items()]
    regions = any(isinstance(value, list) and len(value) > 1 for _, value in items)
    return items if regions else dict(items)


def _accepts(source: Path) -> bool:
    """True for a folder with plans or weights of nnU-Net v2, and for a checkpoint of it under any name."""
    if source.is_file():
        return source.name in WEIGHTS[:2] or _beside_plans(source) or _is_checkpoint(source)
    inner = ("", "fold_*/")
    weights = any(any(source.glob(f"{folder}{file}")) for folder in inner for file in WEIGHTS)
    return weights or any((place / file).is_file() for place in places_of(source) for file in PLANS_FILES)


def _beside_plans(source: Path) -> bool:
    """Whether a file is the safetensors file of a fold, by the plans beside it."""
    named = source.name == WEIGHTS[2]
    return named and any((place / file).is_file() for place in places_of(source) for file in PLANS_FILES)


def _is_checkpoint(source: Path) -> bool:
    """Whether a file of `torch.save` has nnU-Net's weights and arguments; its pickle is not followed."""
    try:
        with zipfile.ZipFile(source) as archive:
            inner = [each for each in archive.infolist() if each.filename.endswith("/data.pkl")]
            if len(inner) != 1 or inner[0].file_size > _MAX_PICKLE_BYTES:
                return False
            pickled = archive.read(inner[0])
    except Exception:  # boundary: a foreign file; another format reads or refuses it
        logger.debug("%s is not a zip file of torch", source, exc_info=True)
        return False
    return all(word in pickled for word in (b"network_weights", b"init_args", b"dataset_json"))


NNUNET_V2 = CheckpointFormat("nnU-Net v2", _accepts, read_v2, PLANS_FILES[0])
