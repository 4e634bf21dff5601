"""Read nnU-Net's results folder: plans, and one folder per fold with its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import CheckpointError, IncompatibleCheckpointError, OptionError
from ...library.catalog_source import find_task
from ...model.description import Channel, Model, NetworkSpec, Pipeline
from ..import_options import ImportOptions
from ..import_report import PIPELINES, ImportNotes, network_in_words
from ..weights_in_file import read_network

_ALL_CASES = ("fold_all", "all")
_FOLD_FOLDER = r"fold_\d{1,3}|fold_all|all"
_UNFINISHED = r"(checkpoint|model)_(latest|ep_\d+)"  # the beginning of names
_MODALITIES = {"CT": "CT", "PET": "PT", "PT": "PT", "SUV": "PT", "US": "US"}
_MR_NAMES = r"(MRI?|T1.*|T2.*|FLAIR|DWI|ADC|PD|SWI)( \(\d+\))?$"


@dataclass(frozen=True)
class FoundFolds:
    """The files with the weights of a training.

    Attributes:
        files: that of each fold, by its number; of the fold trained on all cases, under the number 0.
        places: the folders in which files about the training may lie, the results folder first.
    """

    files: dict[int, Path]
    places: tuple[Path, ...]

    def facts(self, names: Sequence[str]) -> list[Path]:
        """The files of these names in `places`, in the order of the names."""
        return [place / name for name in names for place in self.places if (place / name).is_file()]


def places_of(source: Path) -> tuple[Path, ...]:
    """The folders that may hold files about a training: the results folder, and the given fold's folder."""
    own = source.parent if source.is_file() else source
    return (own.parent, own) if re.fullmatch(_FOLD_FOLDER, own.name) else (own,)


def find_folds(source: Path, names: Sequence[str], options: ImportOptions, notes: ImportNotes) -> FoundFolds:
    """The weights in nnU-Net's results folder, in the folder of one fold, or in one without such folders.

    Args:
        source: the folder, or the file with the weights of one fold.
        names: names of such files: of the last weights of a training, of its best ones, and others.
        options: its `folds` and `checkpoint` choose.
        notes: get a remark if others than the last weights are taken unasked.

    Raises:
        CheckpointError: a fold has no such file, there are none, or the file is of an unfinished training.
        OptionError: the source is a file, and the options choose another.
    """
    places = places_of(source)
    if source.is_file():
        _check_file(source, names, options)
        return _noted(FoundFolds({_number(places[-1]): source}, places), notes)
    folders = _fold_folders(source, names)
    numbered = tuple(fold for fold in folders if fold != "all")
    chosen = options.folds if options.folds is not None else numbered or tuple(folders)
    if not folders:
        raise CheckpointError(
            f"{source} has neither weights ({', '.join(names)}) nor folders fold_0, fold_1, ... or fold_all "
            "with such. Give the folder of a finished training."
        )
    if not chosen or ("all" in chosen and len(chosen) > 1):
        raise CheckpointError(
            f"{source} has the folds {sorted(map(str, folders))}: choose numbered ones, or 'all' alone."
        )
    name = _name([folders[fold] for fold in chosen if fold in folders], names, options)
    files = {}
    for fold in chosen:
        if fold not in folders or not (folders[fold] / name).is_file():
            raise CheckpointError(
                f"Fold {fold} of {source} has no {name}. Finish its training, choose other folds, or take "
                "the other of the final and the best checkpoints."
            )
        files[0 if fold == "all" else int(fold)] = folders[fold] / name
    if name != _wanted(names, options):
        notes.remark(f"There is no {names[0]}: {name} was taken, the only one that is there.")
    within = tuple(folders[fold] for fold in chosen)
    return _noted(FoundFolds(files, tuple(dict.fromkeys((*places, *within)))), notes)


def _check_file(file: Path, names: Sequence[str], options: ImportOptions) -> None:
    """Refuse an unfinished training, and options that choose another fold or checkpoint than the file."""
    if re.match(_UNFINISHED, file.name):
        raise CheckpointError(
            f"{file} is of an unfinished training. Take {names[0]}, the weights of its end, or {names[1]}."
        )
    fold = "all" if file.parent.name in _ALL_CASES else _number(file.parent)
    is_named = re.fullmatch(_FOLD_FOLDER, file.parent.name) is not None
    if options.folds is not None and (len(options.folds) != 1 or (is_named and options.folds != (fold,))):
        raise OptionError(f"{file} is one fold, but other folds are chosen. Leave the folds out.")
    if options.checkpoint and file.name in names[:2] and file.name != _wanted(names, options):
        raise OptionError(
            f"{file} is given, but the {options.checkpoint} weights are chosen. Leave one of the two out."
        )


def _noted(found: FoundFolds, notes: ImportNotes) -> FoundFolds:
    for fold, file in found.files.items():
        folder = f"{file.parent.name}/" if re.fullmatch(_FOLD_FOLDER, file.parent.name) else ""
        notes.files[fold] = f"{folder}{file.name}"
    return found


def _fold_folders(source: Path, names: Sequence[str]) -> dict[int | str, Path]:
    """The folder of each fold; a folder with weights of its own is a fold."""
    own = [source] if any((source / name).is_file() for name in names) else []
    inner = [path for path in sorted(source.iterdir()) if re.fullmatch(_FOLD_FOLDER, path.name)]
    found: dict[int | str, Path] = {}
    for path in [path for path in inner if path.is_dir()] or own:
        fold = "all" if path.name in _ALL_CASES else _number(path)
        if fold in found:
            raise CheckpointError(f"{found[fold]} and {path} are the same fold. Move one of them away.")
        found[fold] = path
    return found


def _number(folder: Path) -> int:
    """The number of a fold, by the name of its folder; 0 for other folders."""
    return int(folder.name.removeprefix("fold_")) if re.fullmatch(r"fold_\d{1,3}", folder.name) else 0


def _wanted(names: Sequence[str], options: ImportOptions) -> str:
    return names[1] if options.checkpoint == "best" else names[0]


def _name(folders: Sequence[Path], names: Sequence[str], options: ImportOptions) -> str:
    """The name of the file with the weights: the last ones, or the only ones that the folds have."""
    wanted = _wanted(names, options)
    if options.checkpoint is not None or any((folder / wanted).is_file() for folder in folders):
        return wanted
    others = [name for name in names if all((folder / name).is_file() for folder in folders)]
    return others[0] if others else wanted


def network_of_folds(
    checkpoints: Iterable[tuple[int, Path, Any]], container: str, options: ImportOptions, notes: ImportNotes
) -> tuple[NetworkSpec, dict[int, dict[str, Tensor]]]:
    """The network that all folds share, without the heads of deep supervision, and the weights of each fold.

    Args:
        checkpoints: the number of each fold, its file, and its contents, which are read one after the other
            and not kept: they may be several times as large as the weights.
        container: the key under which nnU-Net itself keeps the weights.
        options: its `part` chooses among several networks in a file.
        notes: see `read_network`.

    Raises:
        IncompatibleCheckpointError: not a MedNeXt, or the folds have different networks.
    """
    first: NetworkSpec | None = None
    weights = {}
    for fold, path, content in checkpoints:
        spec, weights[fold] = read_network(
            content,
            path,
            options.part,
            notes,
            container=container,
            grn_denominator=options.grn_denominator,
        )
        first = first or spec
        if spec != first:
            raise IncompatibleCheckpointError(
                f"The folds have different networks: fold {fold} is {network_in_words(spec)}; another is "
                f"{network_in_words(first)}. Import folds of one training only."
            )
    assert first is not None
    return first, weights


def imported_model(name: str, pipeline: Pipeline, options: ImportOptions, **facts: Any) -> Model:
    """The model of a training: the options' part of its description, and the facts of the training.

    Raises:
        UnknownModelError: there is no such task.
    """
    return Model(
        name=name,
        version=options.version,
        task=find_task(options.task).name if options.task else name,
        title=options.title or f"{name} ({PIPELINES[pipeline]})",
        pipeline=pipeline,
        licence=options.licence,
        citation=options.citation,
        training_data=options.training_data,
        **facts,
    )


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
            "Put the plans of that training into the folder."
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
    names: Sequence[str], normalizations: Sequence[Channel], options: ImportOptions, notes: ImportNotes
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
        notes.remark(
            f"The checkpoint names its channels {', '.join(names)}; they are called "
            f"{', '.join(options.channels)} here, as told."
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
