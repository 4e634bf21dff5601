"""nnU-Net's own configurations, trained by nnU-Net itself on the same data and split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mednext.errors import InputError, OptionError
from mednext.system.json_reading import read_json

from .datasets import Dataset
from .workspace import Workspace

logger = logging.getLogger(__name__)

PLANS = "nnUNetPlans"
# The cascade's second stage reads the segmentations of every fold of its first stage.
CONFIGURATIONS = {
    "2d": ("2d",),
    "3d_fullres": ("3d_fullres",),
    "3d_cascade": ("3d_lowres", "3d_cascade_fullres"),
}


def run_baseline(
    workspace: Workspace,
    dataset: Dataset,
    baseline: str,
    folds: Sequence[int],
    trainer: str = "nnUNetTrainer",
) -> Path:
    """Preprocess, train and validate a baseline, as `nnUNetv2_train` does; finished folds are not repeated.

    Args:
        workspace: where the data set was planned.
        dataset: the data set.
        baseline: a key of `CONFIGURATIONS`.
        folds: of the split.
        trainer: of nnU-Net, such as "nnUNetTrainer_250epochs".

    Returns:
        The folder of the results.

    Raises:
        OptionError: nnU-Net's planner found no use for the configuration, as for the cascade on small images.
        InputError: nnU-Net fails, as for a trainer that it does not have.
    """
    file = workspace.preprocessed / dataset.folder_name / f"{PLANS}.json"
    if not file.is_file():
        raise OptionError(f"{file} does not exist: plan first, with 'mednext-train plan'.")
    plans = read_json(file, OptionError)
    planned = plans.get("configurations") if isinstance(plans, dict) else None
    if not isinstance(planned, dict):
        raise OptionError(f"{file} has no configurations: plan again.")
    missing = [name for name in CONFIGURATIONS[baseline] if name not in planned]
    if missing:
        raise OptionError(
            f"nnU-Net plans no {missing[0]} for {dataset.folder_name}: its images are too small for it."
        )
    workspace.activate()
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
    from nnunetv2.run.run_training import run_training

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = workspace.results / dataset.folder_name
    for name in CONFIGURATIONS[baseline]:
        data = workspace.preprocessed / dataset.folder_name / planned[name].get("data_identifier", "")
        if name != "3d_cascade_fullres" and not data.is_dir():
            preprocess([dataset.identifier], PLANS, [name], num_processes=[2])
        folder = results / f"{trainer}__{PLANS}__{name}"
        for fold in folds:
            if (folder / f"fold_{fold}" / "validation" / "summary.json").is_file():
                logger.info("%s, fold %d: was finished", name, fold)
                continue
            again = (folder / f"fold_{fold}" / "checkpoint_latest.pth").is_file()
            words = (str(dataset.identifier), name, fold, trainer, PLANS)
            try:
                run_training(*words, continue_training=again, device=device)
            except Exception as error:  # boundary: nnU-Net raises anything
                logger.debug("nnU-Net failed", exc_info=True)
                raise InputError(
                    f"nnU-Net cannot train {name}, fold {fold}, by {trainer} ({type(error).__name__}: "
                    f"{str(error)[:300]}). Check --trainer; if preprocessed data may be damaged, plan again."
                ) from error
    return folder
