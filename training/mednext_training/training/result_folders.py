"""Where nnU-Net keeps the folds of one training."""

from __future__ import annotations

from pathlib import Path

from mednext.errors import CheckpointError

from ..datasets import Dataset
from ..planning.plans import CONFIGURATION, PLANS_NAME
from ..workspace import Workspace


def trainer_name(variant: str, kernel: int, resampling: str = "residual", name: str = "") -> str:
    """Name of the trainer of a MedNeXt, which its results and its checkpoints bear."""
    parts = [f"nnUNetTrainerMedNeXt_{variant.replace('-', '')}_k{kernel}"]
    parts += [] if resampling == "residual" else [resampling]
    return "_".join([*parts, name] if name else parts)


def results_folder(
    workspace: Workspace, dataset: Dataset, variant: str, kernel_size: int, name: str = ""
) -> Path:
    """The folder in which nnU-Net keeps all folds of one training."""
    return fold_folder(workspace, dataset, trainer_name(variant, kernel_size, name=name), 0).parent


def finished_folds(source: Path) -> list[int]:
    """The numbered folds that were trained to the end. Raises `CheckpointError` where there is none."""
    files = source.glob("fold_*/checkpoint_final.pth")
    numbers = [file.parent.name.removeprefix("fold_") for file in files]
    folds = sorted(int(number) for number in numbers if number.isdecimal())
    if not folds:
        raise CheckpointError(f"{source} has no finished fold: train first, with 'mednext-train train'.")
    return folds


def fold_folder(workspace: Workspace, dataset: Dataset, trainer: str, fold: int | str) -> Path:
    """Where the checkpoints of one fold lie."""
    base = workspace.results / dataset.folder_name / f"{trainer}__{PLANS_NAME}__{CONFIGURATION}"
    return base / f"fold_{fold}"
