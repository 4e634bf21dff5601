"""Read nnU-Net's results folder: plans, and one folder per fold with its checkpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, IncompatibleCheckpointError
from ..model.description import Channel, NetworkSpec
from .import_options import ImportOptions
from .label_naming import find_task
from .state_dicts import convert_state_dict, infer_network, inference_weights

logger = logging.getLogger(__name__)

_MODALITIES = {"CT": "CT", "PET": "PT", "PT": "PT", "SUV": "PT", "US": "US"}
_MR_NAMES = r"(MRI?|T1.*|T2.*|FLAIR|DWI|ADC|PD|SWI)( \(\d+\))?$"


def fold_files(folder: Path, file: str, options: ImportOptions, all_folder: str) -> dict[int, Path]:
    """The checkpoint of each fold, by its number; of the fold trained on all cases, under the number 0.

    Args:
        folder: nnU-Net's results folder.
        file: name of the checkpoint in each fold's folder.
        options: its `folds` choose.
        all_folder: name of the folder of the fold "all".

    Raises:
        CheckpointError: a fold has no such checkpoint, or there are none.
    """
    folders: dict[int | str, Path] = {
        int(path.name.removeprefix("fold_")): path
        for path in sorted(folder.glob("fold_*"))
        if path.is_dir() and re.fullmatch(r"fold_\d{1,3}", path.name)
    }
    if (folder / all_folder).is_dir():
        folders["all"] = folder / all_folder
    numbered = tuple(fold for fold in folders if fold != "all")
    chosen = options.folds if options.folds is not None else numbered or tuple(folders)
    if not chosen or ("all" in chosen and len(chosen) > 1):
        raise CheckpointError(
            f"{folder} has the folds {sorted(map(str, folders)) or 'none'}: choose numbered ones, or 'all' "
            "alone."
        )
    files = {}
    for fold in chosen:
        if fold not in folders or not (folders[fold] / file).is_file():
            raise CheckpointError(
                f"Fold {fold} of {folder} has no {file}. Finish its training, choose other folds, or take "
                "the other of the final and the best checkpoints."
            )
        files[0 if fold == "all" else int(fold)] = folders[fold] / file
    return files


def network_of_folds(
    states: Mapping[int, Mapping[str, Tensor]],
) -> tuple[NetworkSpec, dict[int, dict[str, Tensor]]]:
    """The network that all folds share, without the heads of deep supervision, and the weights of each fold.

    Raises:
        IncompatibleCheckpointError: not a MedNeXt, or the folds have different networks.
    """
    converted = {fold: convert_state_dict(state, "nnunet_v1") for fold, state in states.items()}
    specs = {fold: infer_network(state) for fold, state in converted.items()}
    first = next(iter(specs.values()))
    for fold, spec in specs.items():
        if spec != first:
            raise IncompatibleCheckpointError(
                f"The folds have different networks: fold {fold} is {spec}, another is {first}. Import folds "
                "of one training only."
            )
    weights = {fold: inference_weights(state) for fold, state in converted.items()}
    return replace(first, deep_supervision=False), weights


def check_same_plans(path: Path, plans_file: str, told: Any, plans: Any, fields: Sequence[str]) -> None:
    """Refuse a fold whose own file has other plans than the folder, as the preprocessing would be wrong.

    Args:
        path: the fold's file.
        plans_file: name of the folder's file of plans.
        told, plans: the plans in the fold's file, perhaps missing or incomplete, and those of the folder.
        fields: the fields that must be the same.

    Raises:
        CheckpointError: with the first field that differs.
    """
    if not isinstance(told, dict) or not isinstance(plans, dict):
        return
    different = [key for key in fields if key in told and told[key] != plans.get(key)]
    if different:
        raise CheckpointError(
            f"{path} was trained with other plans than {plans_file} has: they differ in {different[0]!r}. "
            f"Put the {plans_file} of that training into the folder."
        )


def check_channels(spec: NetworkSpec, channels: Sequence[Channel]) -> None:
    """Refuse a network with other inputs than the plans have channels, such as the second stage of a cascade.

    Raises:
        IncompatibleCheckpointError: with both numbers.
    """
    if spec.in_channels != len(channels):
        raise IncompatibleCheckpointError(
            f"The network takes {spec.in_channels} channels, but the plans list {len(channels)} "
            f"({', '.join(channel.name for channel in channels)}). The second stage of a cascade cannot be "
            "imported; import a full resolution model."
        )


def named_channels(
    names: Sequence[str], normalizations: Sequence[Channel], options: ImportOptions
) -> tuple[Channel, ...]:
    """The channels under nnU-Net's names, each with its modality.

    Args:
        names: in the channels' order; some data sets give several channels the same name.
        normalizations: channels of which only the normalisation is filled in.
        options: its `channels` are the names instead; its `task` gives the modality if a name does not.

    Raises:
        CheckpointError: there are not as many names as channels.
    """
    if options.channels and len(options.channels) != len(normalizations):
        raise CheckpointError(
            f"The network takes {len(normalizations)} channels, but {len(options.channels)} were named: "
            f"{', '.join(options.channels)}. Name each of them, in the network's order."
        )
    if options.channels and tuple(names) != options.channels:
        logger.warning(
            "The checkpoint names its channels %s; they are called %s here, as you say.",
            ", ".join(names),
            ", ".join(options.channels),
        )
    names = options.channels or names
    if len(names) != len(normalizations):
        raise CheckpointError(
            f"The plans normalise {len(normalizations)} channels, but name {len(names)}: {', '.join(names)}. "
            "The folder's files do not belong together."
        )
    task = find_task(options.task) if options.task else None
    fallback = [image.modality for image in task.channels] if task else []
    if len(fallback) != len(names):
        fallback = ["OT"] * len(names)
    return tuple(
        replace(channel, name=name, modality=_modality(name, channel.normalization) or other)
        for name, channel, other in zip(_unique(names), normalizations, fallback, strict=True)
    )


def _modality(name: str, normalization: str) -> str | None:
    """DICOM's modality for a channel's name in nnU-Net, or None."""
    upper = name.strip().upper()
    if normalization == "ct":
        return "CT"
    return "MR" if re.match(_MR_NAMES, upper) else _MODALITIES.get(upper)


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that repeat an earlier one."""
    return [
        name if name not in names[:n] else f"{name} ({names[:n].count(name) + 1})"
        for n, name in enumerate(names)
    ]
