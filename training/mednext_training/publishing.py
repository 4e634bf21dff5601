"""From a finished training to a bundle that the engine reads, with its measured accuracy written into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.import_options import WhichWeights
from mednext.checkpoints.label_naming import find_task
from mednext.errors import CheckpointError
from mednext.model.bundle import Bundle
from mednext.model.model_file import MODEL_FILE
from mednext.system.atomic import replacing
from mednext.system.json_reading import json_text
from mednext.training_set.dataset import IMAGES

from .datasets import Dataset
from .evaluation import CaseResult, mean_dice
from .planning import CONFIGURATION, PLANS_NAME
from .workspace import Workspace


def results_folder(workspace: Workspace, dataset: Dataset, variant: str, kernel_size: int) -> Path:
    """The folder in which nnU-Net keeps all folds of one training."""
    trainer = f"nnUNetTrainerMedNeXt_{variant}_k{kernel_size}"
    return workspace.results / dataset.folder_name / f"{trainer}__{PLANS_NAME}__{CONFIGURATION}"


def fold_folder(workspace: Workspace, dataset: Dataset, trainer: str, fold: int | str) -> Path:
    """Where the checkpoints of one fold lie."""
    base = workspace.results / dataset.folder_name / f"{trainer}__{PLANS_NAME}__{CONFIGURATION}"
    return base / f"fold_{fold}"


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
    """What a bundle of a data set says beyond its weights, and its description.

    A data set of a task of the catalog gives names, codes, licence and citation; any other its own names.
    """
    task = find_task(dataset.task) if dataset.task else None
    options = ImportOptions(
        task=task.name if task else None,
        orientation=orientation,
        images=workspace.raw / dataset.folder_name / IMAGES,
        folds=folds,
        checkpoint=checkpoint,
        version=version,
        title=f"{task.title if task else dataset.name}, {network}",
        licence=dataset.licence,
        citation=" ".join(task.citations) if task else "",
        training_data=", ".join(
            filter(None, (task.dataset.name if task else dataset.name, dataset.reference))
        ),
    )
    return options, task.description if task else f"Trained on {dataset.folder_name}."


def export_bundle(source: Path, target: Path, options: ImportOptions, description: str) -> Bundle:
    """Make a bundle of trained folds.

    Args:
        source: see `results_folder`.
        target: folder of the bundle; its name is the model's name.
        options: of the import; its `images` give orientation and field of view.
        description: what the model is for, in words for a radiologist.

    Raises:
        CheckpointError: nothing was trained yet, or a checkpoint is damaged.
        BundleError, OutputError: the bundle cannot be written.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source} does not exist: train first, with 'mednext-train train'.")
    return _rewrite(import_checkpoint(source, target, options), description=description)


def record_accuracy(bundle: Bundle, results: Sequence[CaseResult], source: str) -> Bundle:
    """Write the mean Dice of an evaluation into the bundle's `model.json`; the weights stay as they are.

    Args:
        bundle: the model that was evaluated.
        results: one entry per case.
        source: what was measured where, in a sentence.
    """
    accuracy = {
        "source": source,
        "cases": len(results),
        "dice": {
            label: round(value, 4) for label, value in mean_dice(results).items() if not math.isnan(value)
        },
    }
    return _rewrite(bundle, accuracy=accuracy)


def _rewrite(bundle: Bundle, **changes: Any) -> Bundle:
    """Change what `model.json` says; the weights are not touched."""
    model = replace(bundle.model, **changes)
    with replacing(bundle.path / MODEL_FILE) as temporary:
        temporary.write_text(json_text(model.to_json()) + "\n", encoding="utf-8")
    return Bundle(bundle.path, model)
