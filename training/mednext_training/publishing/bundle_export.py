"""From a finished training to a bundle that the engine reads, with its measured accuracy written into it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mednext import load_bundle
from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.import_options import WhichWeights
from mednext.errors import CheckpointError, OptionError
from mednext.library.catalog import Task
from mednext.library.catalog_source import find_task
from mednext.model.bundle import Bundle, check_replaceable
from mednext.model.description import Model
from mednext.model.model_file import MODEL_FILE
from mednext.system.atomic import explaining, replacing, replacing_folder
from mednext.system.json_reading import json_text
from mednext.training_set.dataset import DATASET_FILE, IMAGES

from ..datasets import Dataset, misnamed, misplaced_channel, read_description
from ..evaluation.case_results import CaseResult, summary
from ..run_record import read_record
from ..workspace import Workspace

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,31}")


def check_version(version: str) -> None:
    """Refuse a version that cannot be part of a file's name. Raises `OptionError`."""
    if not _VERSION.fullmatch(version):
        raise OptionError(f"{version!r} is no version: use letters, digits and dots, such as 1.0.0.")


def export_options(
    workspace: Workspace,
    dataset: Dataset,
    network: str,
    *,
    folds: tuple[int | str, ...],
    checkpoint: WhichWeights,
    version: str,
    orientation: str | None,
) -> tuple[ImportOptions, str]:
    """Return the import options of a data set's bundle, and its description.

    A data set of a task of the catalog gives names, codes, licence and citation; any other its own names.

    Raises:
        UnknownModelError: the catalog has no such task.
        OptionError: the data set has other channels or labels than the task, or the version is none.
    """
    check_version(version)
    task = find_task(dataset.task) if dataset.task else None
    if task:
        _check_task(dataset, task)
    options = ImportOptions(
        task=task.name if task else None,
        orientation=orientation,
        images=workspace.raw / dataset.folder_name / IMAGES,
        folds=folds,
        checkpoint=checkpoint,
        version=version,
        title=f"{task.title if task else dataset.name}, {network}",
        licence=dataset.licence or (task.dataset.licence if task else ""),
        citation=" ".join(task.citations) if task else "",
        training_data=", ".join(
            filter(None, (task.dataset.name if task else dataset.name, dataset.reference))
        ),
    )
    return options, task.description if task else f"Trained on {dataset.folder_name}."


def _check_task(dataset: Dataset, task: Task) -> None:
    """Refuse names and codes of a task for a data set of other structures."""
    if dataset.regions:
        known = {region.name: set(region.labels) for region in task.regions}
        fits = all(known.get(name) == set(values) for name, values in dataset.regions.items())
    else:
        fits = dict(dataset.labels) == {label.name: label.value for label in task.labels}
    if not fits or dataset.channels != tuple(channel.name for channel in task.channels):
        raise OptionError(
            f"{dataset.folder_name} says that it is of the task {task.name}, but has the channels "
            f"{', '.join(dataset.channels)} and the labels {', '.join(dataset.labels)}, and the task "
            f"{', '.join(channel.name for channel in task.channels)} and "
            f"{', '.join(label.name for label in task.labels)}: correct its dataset.json."
        )


def check_trained_labels(source: Path, dataset: Dataset) -> None:
    """Refuse to name labels by a description that was changed since they were trained.

    Args:
        source: see `result_folders.results_folder`.
        dataset: as it is described now.

    Raises:
        OptionError: it was trained with other channels or labels.
        CheckpointError: nothing was trained yet.
    """
    if not (source / DATASET_FILE).is_file():
        raise CheckpointError(f"{source} has no {DATASET_FILE}: train first, with 'mednext-train train'.")
    trained = read_description(source / DATASET_FILE, dataset.identifier, dataset.name)
    same = trained.values == dataset.values if trained.regions else trained.labels == dataset.labels
    if not same or trained.channels != dataset.channels:
        raise OptionError(
            f"{source} was trained on the channels {', '.join(trained.channels)} with the labels "
            f"{', '.join(trained.labels)}; {dataset.folder_name} now has {', '.join(dataset.channels)} with "
            f"{', '.join(dataset.labels)}. Train again, or restore its dataset.json."
        )


def export_bundle(source: Path, target: Path, options: ImportOptions, description: str) -> Bundle:
    """Make a bundle of trained folds.

    Args:
        source: see `result_folders.results_folder`.
        target: folder of the bundle; its name is the model's name.
        options: of the import; its `images` give orientation and field of view.
        description: the model's purpose, in words for a radiologist.

    Raises:
        CheckpointError: nothing was trained yet, or a checkpoint is damaged.
        BundleError, OutputError: the bundle cannot be written.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source} does not exist: train first, with 'mednext-train train'.")
    check_replaceable(target)
    former = load_bundle(target) if (target / MODEL_FILE).is_file() else None
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as scratch:
        bundle = import_checkpoint(source, Path(scratch) / target.name, options)
        changes: dict[str, Any] = {"description": description}
        if former and former.model.accuracy:
            if former.model.folds != bundle.model.folds:
                raise OptionError(
                    f"{target} has a measured accuracy, and these weights are others: give the model another "
                    "name, or remove the former one."
                )
            changes |= {"accuracy": former.model.accuracy, "keep_largest": former.model.keep_largest}
        bundle = _rewrite(bundle, **changes)
        with replacing_folder(target) as temporary:
            shutil.copytree(bundle.path, temporary, dirs_exist_ok=True)
    return load_bundle(target)


def training_history(source: Path, folds: Sequence[int | str]) -> str:
    """How the folds were trained, in a sentence for each kind of run; "" where nothing is recorded."""
    told: dict[str, list[str]] = {}
    for fold in folds:
        record = read_record(source / f"fold_{fold}")
        if record is None:
            continue
        run, versions = defaultdict(lambda: "unknown", record["run"]), record["how"].get("versions", {})
        patch = " × ".join(map(str, record["run"].get("patch", ()))) or "unknown"
        packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "nnunetv2") if name in versions)
        sentence = (
            f"{run['epochs']} epochs of {run['iterations']} steps, patch {patch}, "
            f"{run['start']}, seed {run['seed']}, plan {run['plan_sha256'][:12]}, {packages}"
        )
        told.setdefault(sentence, []).append(f"{fold} (split {run['split_sha256'][:12]})")
    return " ".join(f"{sentence}; folds {', '.join(folds)}." for sentence, folds in told.items())


def trained_orientation(source: Path, folds: Sequence[int | str]) -> str | None:
    """The orientation of the images when these folds were trained; None where no record tells it.

    Raises:
        OptionError: the folds were trained in different ones.
    """
    records = filter(None, (read_record(source / f"fold_{fold}") for fold in folds))
    told = sorted({str(record["run"].get("orientation") or "") for record in records} - {""})
    if len(told) > 1:
        raise OptionError(
            f"The folds in {source} were trained on images in different orientations ({', '.join(told)}): "
            "export those of one with --folds, or train the others again."
        )
    return told[0] if told else None


def check_same_names(model: Model, dataset: Dataset) -> None:
    """Refuse to measure a model by labels or on channels with other names. Raises `OptionError`."""
    regions = {region.name.casefold(): {*region.labels} for region in model.regions}
    differing = [
        f'the region "{name}"'
        for name, values in dataset.regions.items()
        if regions.get(name.casefold(), {*values}) != {*values}
    ]
    labels = {label.value: label.name for label in model.labels}  # of regions, by which they are painted
    differing += [
        f'the label {each.value}, "{each.told}" and "{each.wanted}"'
        for each in misnamed(labels, {} if dataset.regions else dataset.names)
        if each.exchanged or model.output != "regions"
    ]
    if len(model.channels) != len(dataset.channels):
        differing.append(f"the number of channels, {len(model.channels)} and {len(dataset.channels)}")
    else:
        misplaced = misplaced_channel(dataset.channels, model.channels)
        differing += [f"a channel, {misplaced[1]} and {misplaced[0]}"] if misplaced else []
    if differing:
        raise OptionError(
            f"{model.name} and {dataset.folder_name} differ in {differing[0]}: measure a model of this data "
            "set. Where both mean the same, give it the same name in model.json or dataset.json."
        )


def record_accuracy(bundle: Bundle, results: Sequence[CaseResult], source: str) -> Bundle:
    """Write the means of an evaluation into the bundle's `model.json`; the weights stay as they are.

    Accuracies that were recorded before, of another source, are kept under "others".

    Args:
        bundle: the model that was evaluated.
        results: one entry per case.
        source: the measurement, in a sentence.
    """
    table = summary(results)
    accuracy: dict[str, Any] = {"source": source, "cases": len(results)}
    for key in ("dice", "surface_dice", "hd95_mm"):
        values = {name: row[key] for name, row in table.items()}
        accuracy[key] = {name: round(value, 4) for name, value in values.items() if value is not None}
    accuracy["missed"] = {name: row["missed"] for name, row in table.items() if row["missed"]}
    former = bundle.model.accuracy
    if former and former.get("source") != source:
        accuracy["others"] = [{**former, "others": []}, *former.get("others", [])]
        del accuracy["others"][0]["others"]
    elif former and former.get("others"):
        accuracy["others"] = former["others"]
    return _rewrite(bundle, accuracy=accuracy)


def record_kept_largest(bundle: Bundle, values: Sequence[int]) -> Bundle:
    """Write into the bundle of which labels inference keeps the largest component only."""
    return _rewrite(bundle, keep_largest=tuple(values))


def _rewrite(bundle: Bundle, **changes: Any) -> Bundle:
    """Change fields of `model.json`; the weights stay as they are."""
    model = replace(bundle.model, **changes)
    with replacing(bundle.path / MODEL_FILE) as temporary:
        temporary.write_text(json_text(model.to_json()) + "\n", encoding="utf-8")
    return Bundle(bundle.path, model)
