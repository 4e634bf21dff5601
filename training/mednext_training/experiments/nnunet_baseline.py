"""nnU-Net's own configurations, trained by nnU-Net itself on the same data and split."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mednext.errors import InputError, MedNeXtError, OptionError
from mednext.system.atomic import replacing
from mednext.system.json_reading import json_text, read_json
from mednext.system.locks import locked

from ..dataset_use import in_use
from ..datasets import Dataset
from ..planning.plans import read_plans
from ..planning.splits import split_of
from ..run_record import digest, read_record, write_record
from ..workspace import Workspace

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

    Patches are mirrored along `mirrored_axes` alone, in training and in validation.

    Args:
        workspace: where the data set was planned.
        dataset: the data set.
        baseline: a key of `CONFIGURATIONS`.
        folds: of the split.
        trainer: of nnU-Net, such as "nnUNetTrainer_250epochs".

    Returns:
        The folder of the results.

    Raises:
        OptionError: nnU-Net's planner found no use for the configuration, as for the cascade on small images;
            or a fold was trained on another plan, split or data, or mirrored otherwise.
        InputError: nnU-Net fails, as for a trainer that it does not have, or for damaged plans.
    """
    from ..training.mirroring import mirrored_axes  # imports torch, which commands on data do without

    plans, description = _planned(workspace, dataset)
    planned = plans["configurations"]
    missing = [name for name in CONFIGURATIONS[baseline] if name not in planned]
    if missing:
        raise OptionError(
            f"nnU-Net plans no {missing[0]} for {dataset.folder_name}: its images are too small for it."
        )
    described = {key: str(description.get(key, "")) for key in ("content_sha256", "cases_sha256")}
    workspace.activate()
    with in_use(workspace, dataset, "baseline"):
        for name in CONFIGURATIONS[baseline]:
            with _explaining(f"preprocess for {name}", "Plan again, with 'mednext-train plan'."):
                base = {"network": f"{trainer} {name}", "plan_sha256": digest(planned[name]), **described}
                dimensions = 2 if name == "2d" else 3
                axes = mirrored_axes(description, plans, range(dimensions), dimensions)
                _preprocess(workspace, dataset, name, base, str(planned[name].get("data_identifier", "")))
            if axes != tuple(range(dimensions)):
                base |= {"mirror_axes": str(axes)}
            folder = workspace.results / dataset.folder_name / f"{trainer}__{PLANS}__{name}"
            for fold in folds:
                run = {**base, "split_sha256": digest(split_of(workspace, dataset, fold))}
                _train(dataset, name, trainer, fold, folder / f"fold_{fold}", run, axes)
    return folder


def _planned(workspace: Workspace, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """nnU-Net's plans, and the description of the data that they were planned for."""
    file = workspace.preprocessed / dataset.folder_name / f"{PLANS}.json"
    if not file.is_file():
        raise OptionError(f"{file} does not exist: plan first, with 'mednext-train plan'.")
    said = read_json(file, OptionError, "Plan again, with 'mednext-train plan'.")
    planned = said.get("configurations") if isinstance(said, dict) else None
    if not isinstance(planned, dict) or not all(isinstance(each, dict) for each in planned.values()):
        raise OptionError(f"{file} has no configurations: plan again, with 'mednext-train plan'.")
    return said, read_plans(workspace, dataset)[1]


def _preprocess(
    workspace: Workspace, dataset: Dataset, name: str, wanted: Mapping[str, str], identifier: str
) -> None:
    """Preprocess for a configuration, unless that was done to its end with this plan and these data."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess

    if name == "3d_cascade_fullres":  # has the data of 3d_fullres
        return
    folder = workspace.preprocessed / dataset.folder_name
    marker = folder / f"{PLANS}_{name}_preprocessed.json"
    wanted = {key: value for key, value in wanted.items() if key != "network"}
    with locked(folder / f".{PLANS}_{name}.lock"):  # folds may be trained at the same time
        if (folder / identifier).is_dir() and _said(marker) == wanted:
            return
        preprocess([dataset.identifier], PLANS, [name], num_processes=[2])
        with replacing(marker) as temporary:
            temporary.write_text(json_text(wanted) + "\n", encoding="utf-8")


def _said(marker: Path) -> Any:
    try:
        return read_json(marker, OptionError)
    except OptionError:  # missing or damaged
        return None


def _train(
    dataset: Dataset,
    name: str,
    trainer: str,
    fold: int,
    folder: Path,
    run: Mapping[str, str],
    axes: tuple[int, ...] | None,
) -> None:
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    record = read_record(folder)
    if record is not None and record["run"] != run:
        raise OptionError(
            f"{folder} was trained on another plan, split or data, or mirrored otherwise: move it away."
        )
    if (folder / "validation" / "summary.json").is_file():
        logger.info("%s, fold %d: was finished", name, fold)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, run, {})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = device.type == "cuda"
    again = (folder / "checkpoint_latest.pth").is_file()
    words = (str(dataset.identifier), name, fold, trainer, PLANS)
    remedy = "Check --trainer; if preprocessed data may be damaged, plan again."
    with _explaining(f"train {name}, fold {fold}, by {trainer}", remedy):
        training = get_trainer_from_args(*words, continue_training=again, device=device)
        _mirror_along(training, axes)
        maybe_load_checkpoint(training, again, validation_only=False)
        training.run_training()
        training.perform_actual_validation()


@contextmanager
def _explaining(task: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except MedNeXtError:
        raise
    except Exception as error:  # boundary: nnU-Net raises anything
        logger.debug("nnU-Net failed", exc_info=True)
        raise InputError(
            f"nnU-Net cannot {task} ({type(error).__name__}: {str(error)[:300]}). {remedy}"
        ) from error


def _mirror_along(training: Any, axes: tuple[int, ...] | None) -> None:
    """Leave out the other axes along which a trainer of nnU-Net mirrors."""
    configure = training.configure_rotation_dummyDA_mirroring_and_inital_patch_size

    def configured() -> tuple[Any, ...]:
        *others, usual = configure()
        kept = tuple(each for each in usual or () if each in (axes or ())) or None
        training.inference_allowed_mirroring_axes = kept
        return *others, kept

    training.configure_rotation_dummyDA_mirroring_and_inital_patch_size = configured
