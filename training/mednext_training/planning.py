"""nnU-Net's fingerprint and plan, changed to MedNeXt's: isotropic 1 mm, one patch size, batch of two."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mednext.errors import InputError, OptionError
from mednext.network.mednext import SIDE_DIVISOR
from mednext.system.json_reading import read_json

from .datasets import Dataset
from .workspace import Workspace

logger = logging.getLogger(__name__)

CONFIGURATION = "3d_1mm"
PLANS_NAME = "MedNeXtPlans"
_FOLDS = 5  # of nnU-Net's cross-validation


def plan_and_preprocess(
    workspace: Workspace,
    dataset: Dataset,
    patch: Sequence[int],
    batch_size: int = 2,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    processes: int = 2,
) -> Path:
    """Plan an experiment with nnU-Net, set spacing, patch and batch size, and preprocess all cases.

    Args:
        workspace: where the raw data lies.
        dataset: the data set.
        patch: patch size in voxels, `(Z, Y, X)`, sides divisible by 16.
        batch_size: patches in a batch.
        spacing: target spacing in mm, `(Z, Y, X)`.
        processes: processes that preprocess.

    Returns:
        The plans file.

    Raises:
        OptionError: a side of the patch is not divisible by 16, or the data set was not converted yet.
        InputError: nnU-Net refuses the data set.
    """
    check_patch(patch)
    raw = workspace.raw / dataset.folder_name / "dataset.json"
    if not raw.is_file():
        raise OptionError(f"{raw} does not exist: convert the data set first, with 'mednext-train convert'.")
    workspace.activate()
    try:
        return _plan(workspace, dataset, patch, batch_size, spacing, processes)
    except Exception as cause:  # boundary: nnU-Net raises anything for data that it does not like
        logger.debug("planning failed", exc_info=True)
        raise InputError(
            f"nnU-Net cannot plan for {dataset.folder_name} ({type(cause).__name__}: {cause}). Correct the "
            "data set, and convert it again."
        ) from cause


def check_patch(patch: Sequence[int]) -> None:
    """Refuse a patch `(Z, Y, X)` that MedNeXt cannot halve four times. Raises `OptionError`."""
    if any(side < 1 or side % SIDE_DIVISOR for side in patch):
        raise OptionError(f"The patch {tuple(patch)} must have sides divisible by {SIDE_DIVISOR}.")


def read_plans(workspace: Workspace, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plans and the description of a data set that was planned.

    Raises:
        OptionError: it was not planned yet, or one of the files is damaged.
    """
    folder = workspace.preprocessed / dataset.folder_name
    files = folder / f"{PLANS_NAME}.json", folder / "dataset.json"
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise OptionError(f"{missing[0]} does not exist: plan first, with 'mednext-train plan'.")
    plans, description = (read_json(file, OptionError) for file in files)
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    if not isinstance(configurations, dict) or CONFIGURATION not in configurations:
        raise OptionError(f"{files[0]} has no configuration {CONFIGURATION}: plan again.")
    return plans, description


def splits_file(workspace: Workspace, dataset: Dataset) -> Path:
    """Where nnU-Net writes the cases of each fold when the first one is trained."""
    return workspace.preprocessed / dataset.folder_name / "splits_final.json"


def read_splits(workspace: Workspace, dataset: Dataset) -> list[list[str]] | None:
    """The validation cases of each fold; None before the first training.

    Raises:
        OptionError: the file is damaged.
    """
    file = splits_file(workspace, dataset)
    if not file.is_file():
        return None
    splits = read_json(file, OptionError)
    listed = splits if isinstance(splits, list) and splits else [None]
    cases: list[Any] = [split.get("val") if isinstance(split, dict) else None for split in listed]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in cases):
        raise OptionError(f"{file} is not a list of nnU-Net's folds: remove it, and train again.")
    return cases


def check_fold(workspace: Workspace, dataset: Dataset, fold: int) -> None:
    """Refuse a fold that nnU-Net would replace by a random split, or take for another one.

    Raises:
        OptionError: there is no such fold.
    """
    splits = read_splits(workspace, dataset)
    count = _FOLDS if splits is None else len(splits)
    if not 0 <= fold < count:
        raise OptionError(
            f"There is no fold {fold} in {dataset.folder_name}: it has {count}, counted from 0."
        )


def _plan(
    workspace: Workspace,
    dataset: Dataset,
    patch: Sequence[int],
    batch_size: int,
    spacing: Sequence[float],
    processes: int,
) -> Path:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    extract_fingerprints([dataset.identifier], num_processes=processes, check_dataset_integrity=False)
    plan_experiments([dataset.identifier])
    folder = workspace.preprocessed / dataset.folder_name
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS_NAME
    plans["configurations"][CONFIGURATION] = plans["configurations"]["3d_fullres"] | {
        "data_identifier": f"{PLANS_NAME}_{CONFIGURATION}",
        "spacing": list(spacing),
        "patch_size": list(patch),
        "batch_size": batch_size,
        "batch_dice": False,
    }
    target = folder / f"{PLANS_NAME}.json"
    target.write_text(json.dumps(plans, indent=2), encoding="utf-8")
    preprocess([dataset.identifier], PLANS_NAME, [CONFIGURATION], num_processes=[processes])
    return target
