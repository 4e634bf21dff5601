"""Import a state dict of MONAI's `MedNeXt`, which tells nothing about images and labels.

A JSON file adds the missing fields of `model.json`, all but "network" and "folds".
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..model.description import FORMAT_VERSION, Model, NetworkSpec
from ..model.model_file import parse_model
from ..system.json_reading import Fields, read_json
from .checkpoint_format import CheckpointFormat
from .import_options import ImportOptions
from .pickles.reading import load_torch
from .state_dicts import convert_state_dict, infer_network, inference_weights

_DEFAULTS = {
    "format_version": FORMAT_VERSION,
    "description": "Imported from MONAI.",
    "pipeline": "nnunet_v2",
    "output": "softmax",
    "mirror_axes": [],
    "step": 0.5,
}


def read_monai_file(
    path: Path, name: str, options: ImportOptions
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a state dict of MONAI, described by `options.description`.

    Raises:
        CheckpointError: there is no description, or one of the files is damaged or wrong.
        UnsafeCheckpointError: the file names a class or function that is not on the whitelist.
        IncompatibleCheckpointError: not a MedNeXt, or of the size B, M or L.
    """
    state = convert_state_dict(_state(load_torch(path), path), "monai")
    spec = infer_network(state)
    # MONAI has one switch for the residual paths of stages and of resampling blocks.
    spec = replace(spec, deep_supervision=False, residual=spec.resampling == "residual")
    if options.description is None:
        raise CheckpointError(
            f"{path} holds weights only. Give a description, a JSON file with the fields of model.json "
            '("channels", "labels", "orientation", "spacing", "patch", ...) without "network" and "folds".'
        )
    given = read_json(options.description, CheckpointError)
    surplus = sorted({"network", "folds"} & set(given)) if isinstance(given, dict) else ["text"]
    if surplus:
        raise CheckpointError(
            f"{options.description} must be a JSON object without {surplus[0]!r}: the network is read off "
            "the weights."
        )
    model = _described(name, options, given, spec)
    return model, {0: inference_weights(state)}


def _state(checkpoint: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a file: bare, or under the usual key of training scripts."""
    for key in ("state_dict", "model", "net", "network"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            return checkpoint[key]
    if not isinstance(checkpoint, dict) or not all(
        isinstance(value, Tensor) for value in checkpoint.values()
    ):
        raise CheckpointError(f"{path} is not a state dict. Save model.state_dict() with torch.save.")
    return checkpoint


def _described(name: str, options: ImportOptions, given: dict[str, Any], spec: NetworkSpec) -> Model:
    axes = {} if options.mirror_axes is None else {"mirror_axes": list(options.mirror_axes)}
    network = {key: value for key, value in asdict(spec).items() if key != "deep_supervision"}
    data = {
        **_DEFAULTS,
        "version": options.version,
        "task": options.task or name,
        "title": options.title or f"{name} (MONAI)",
        "licence": options.licence,
        "citation": options.citation,
        "training_data": options.training_data,
        **axes,
        **given,
        "name": name,
        "network": network,
        "folds": [{"index": 0, "file": "fold_0.safetensors", "sha256": "0" * 64}],
    }
    return replace(parse_model(Fields(data, str(options.description), CheckpointError)), folds=())


MONAI = CheckpointFormat("MONAI", Path.is_file, read_monai_file)
