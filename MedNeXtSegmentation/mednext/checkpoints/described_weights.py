"""Import a file of weights without facts about images and labels: of MONAI, MIST, Lightning, own scripts.

A JSON file adds the missing fields of `model.json`, all but "network" and "folds".
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, OptionError
from ..model.description import FORMAT_VERSION, Model, NetworkSpec
from ..model.model_file import parse_model
from ..system.json_reading import Fields, read_json
from .checkpoint_format import CheckpointFormat
from .import_options import ImportOptions
from .import_report import ImportNotes, whole_patch
from .label_naming import name_labels
from .orientation import check_orientation
from .state_dicts import SOURCES
from .weights_in_file import load_weights, read_network

_PROGRAM = "program"  # a field of the description that is not one of `model.json`
_DEFAULTS = {
    "format_version": FORMAT_VERSION,
    "description": "Imported from a file of weights.",
    "pipeline": "nnunet_v2",
    "output": "softmax",
    "mirror_axes": [],
    "step": 0.5,
}
_ASSUMED = {
    "pipeline": 'The pipeline of nnU-Net v2 was assumed, as the description has no "pipeline".',
    "mirror_axes": 'The model is not mirrored, as the description has no "mirror_axes".',
}


def read_described_weights(
    path: Path, name: str, options: ImportOptions, notes: ImportNotes
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a file of weights, described by `options.description`.

    Raises:
        CheckpointError: there is no description, or one of the files is damaged or wrong.
        OptionError: an option contradicts the description.
        UnsafeCheckpointError: the file names a class or function that is not on the whitelist.
        IncompatibleCheckpointError: not a MedNeXt.
    """
    given = _description(options.description) if options.description else {}
    fields = Fields(given, str(options.description), CheckpointError)
    program = fields.text(_PROGRAM, choices=SOURCES) if fields.has(_PROGRAM) else None
    spec, weights = read_network(
        load_weights(path, notes),
        path,
        options.part,
        notes,
        program,
        grn_denominator=options.grn_denominator,
    )
    notes.files[0] = path.name
    if options.description is None:
        raise CheckpointError(
            f"{path} holds weights only. Give a description, a JSON file with the fields of model.json "
            '("channels", "labels", "orientation", "spacing", "patch", ...) without "network" and "folds".'
        )
    given.pop(_PROGRAM, None)
    if "patch" in given:
        given["patch"] = whole_patch(fields.integers("patch", 1, 4096, length=3), spec.dimensions, notes)
    model = _described(name, options, given, spec)
    for key, sentence in _ASSUMED.items():
        if key not in given and not (key == "mirror_axes" and options.mirror_axes is not None):
            notes.remark(sentence)
    notes.sources |= dict.fromkeys(
        ("channels", "labels", "orientation", "mirror_axes", "normalization", "spacing", "patch", "pipeline"),
        "description",
    )
    return model, {0: weights}


def _description(path: Path) -> dict[str, Any]:
    given = read_json(path, CheckpointError)
    surplus = sorted({"network", "folds"} & set(given)) if isinstance(given, dict) else ["text"]
    if surplus:
        raise CheckpointError(
            f"{path} must be a JSON object without {surplus[0]!r}: the network is read off the weights."
        )
    return given


def _described(name: str, options: ImportOptions, given: dict[str, Any], spec: NetworkSpec) -> Model:
    network = {key: value for key, value in asdict(spec).items() if key != "deep_supervision"}
    data = {
        **_DEFAULTS,
        "version": options.version,
        "task": options.task or name,
        "title": options.title or f"{name} (imported weights)",
        "licence": options.licence,
        "citation": options.citation,
        "training_data": options.training_data,
        **given,
        **_options(options, given, spec),
        "name": name,
        "network": network,
        "folds": [{"index": 0, "file": "fold_0.safetensors", "sha256": "0" * 64}],
    }
    model = replace(parse_model(Fields(data, str(options.description), CheckpointError)), folds=())
    _check_names(options, model)
    return model


def _check_names(options: ImportOptions, described: Model) -> None:
    """Refuse other names of labels or channels than those of the description. Raises `OptionError`."""
    named = {label.value: label.name for label in described.labels}
    if options.labels and named != {value: label for value, label in options.labels.items() if value}:
        raise OptionError("The labels are given twice, and differ. Leave them out of the options.")
    if options.channels and [channel.name for channel in described.channels] != list(options.channels):
        raise OptionError("The channels are named twice, and differ. Leave them out of the options.")


def _options(options: ImportOptions, given: dict[str, Any], spec: NetworkSpec) -> dict[str, Any]:
    """The facts of the options that may stand in place of a field of the description.

    Raises:
        OptionError: one contradicts the description.
    """
    told: dict[str, Any] = {}
    if options.orientation:
        check_orientation(options.orientation)
        told["orientation"] = options.orientation
    if options.mirror_axes is not None:
        told["mirror_axes"] = list(options.mirror_axes)
    if (options.labels or options.task) and "labels" not in given:
        labels = name_labels(range(1, spec.num_classes), options)
        told["labels"] = [label.to_json() for label in labels]
    for key in ("orientation", "mirror_axes"):
        if key in told and key in given and told[key] != given[key]:
            raise OptionError(
                f"The description has {given[key]!r} as {key!r}, but the option says {told[key]!r}. Leave "
                "one of the two out."
            )
    return told


DESCRIBED_WEIGHTS = CheckpointFormat("a file of weights", Path.is_file, read_described_weights)
