"""nnU-Net's fingerprint and plan, changed to MedNeXt's: isotropic 1 mm, one patch size, batch of two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mednext.errors import OptionError
from mednext.network import SIDE_DIVISOR

from .datasets import Dataset
from .workspace import Workspace

CONFIGURATION = "3d_1mm"
PLANS_NAME = "MedNeXtPlans"


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
        OptionError: a side of the patch is not divisible by 16.
    """
    if any(side % SIDE_DIVISOR for side in patch):
        raise OptionError(f"The patch {tuple(patch)} must have sides divisible by {SIDE_DIVISOR}.")
    workspace.activate()
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    extract_fingerprints([dataset.identifier], num_processes=processes, check_dataset_integrity=True)
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
