"""Several networks in one frame: the same plan, folds and schedule; then one report over all of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mednext.checkpoints.nnunet.mirroring import axes_of_trainer
from mednext.errors import OptionError
from mednext.images.formats.image_files import read_image
from mednext.model.description import VARIANT_NAMES
from mednext.system.atomic import replacing
from mednext.system.json_reading import read_json
from mednext.training_set.dataset import DATASET_FILE

from ..dataset_use import in_use
from ..datasets import Dataset, read_description
from ..evaluation.case_results import CaseResult, compare, labels_on
from ..evaluation.metrics import Score, is_sound
from ..network.start_weights import weights_of_small_kernel
from ..planning.plans import read_plans
from ..planning.splits import validation_cases
from ..run_record import digest, read_record
from ..training.feasibility import check_network
from ..training.mirroring import mirrored_axes
from ..training.schedule import Schedule, recipe_schedule
from ..training.trainer import mednext_trainer, nnUNetTrainerMedNeXt
from ..training.trainer_frame import FINAL, FramedTrainer
from ..training.training_run import Run, check_run, train_run, validate_run
from ..workspace import Workspace
from .baselines import nnUNetTrainerPlain, nnUNetTrainerSwinUNETR, nnUNetTrainerUNETR
from .comparison import Entry

logger = logging.getLogger(__name__)

_OTHERS: dict[str, type[FramedTrainer]] = {
    "nnunet": nnUNetTrainerPlain,
    "unetr": nnUNetTrainerUNETR,
    "swinunetr": nnUNetTrainerSwinUNETR,
}
_MEDNEXT = re.compile(rf"({'|'.join(VARIANT_NAMES)})_k([357])(?:_(upkern|standard|twice))?")
SCORES = "scores.json"
NAMES = "S_k3, L_k5, v2-B_k3 and so on, with _upkern, _standard or _twice behind; nnunet, unetr, swinunetr"


@dataclass(frozen=True)
class Contestant:
    """A network of an experiment.

    Attributes:
        name: see `NAMES`.
        trainer: of the network.
        upkern: begins with the contestant of kernel 3 on the same fold, which is trained first.
        times: it is trained as many times as long as the others.
    """

    name: str
    trainer: type[FramedTrainer]
    upkern: bool = False
    times: int = 1


def contestant(name: str) -> Contestant:
    """The network of a name. Raises `OptionError` for one that is none."""
    if name in _OTHERS:
        return Contestant(name, _OTHERS[name])
    match = _MEDNEXT.fullmatch(name)
    if match is None:
        raise OptionError(f"There is no network {name!r}. There are {NAMES}.")
    variant, kernel, kind = match[1], int(match[2]), match[3] or ""
    if kind == "upkern" and kernel == 3:
        raise OptionError(f"{name}: UpKern makes large kernels of small ones, and 3 is the small one.")
    if kind == "standard":
        return Contestant(name, mednext_trainer(variant, kernel, "standard"))
    trainer = mednext_trainer(variant, kernel, suffix=kind)
    return Contestant(name, trainer, kind == "upkern", 2 if kind == "twice" else 1)


def run_experiment(
    workspace: Workspace,
    dataset: Dataset,
    contestants: Sequence[Contestant],
    folds: Sequence[int],
    schedule: Schedule,
) -> list[Entry]:
    """Train and validate every contestant on every fold, alternating; finished runs are not repeated.

    All of them are checked before the first one starts.

    Args:
        schedule: of all; without a learning rate each network has its own.

    Returns:
        The results of each contestant on the validation cases, as nnU-Net's inference segments them.

    Raises:
        OptionError: a network cannot be trained on this plan.
        OptionError, NumericalError, Cancelled: as `train_run`.
    """
    found: dict[str, list[CaseResult]] = {each.name: [] for each in contestants}
    with in_use(workspace, dataset, "experiment"):
        _check(workspace, dataset, contestants, folds, schedule)
        for fold in folds:
            for each in contestants:
                run = _run(workspace, dataset, each, fold, schedule)
                logger.info("%s, fold %d: %s", each.name, fold, train_run(run))
                validate_run(run)
                found[each.name] += fold_results(workspace, dataset, run.folder, fold)
    return [Entry(each.name, each.trainer.title, found[each.name]) for each in contestants]


def _check(
    workspace: Workspace,
    dataset: Dataset,
    contestants: Sequence[Contestant],
    folds: Sequence[int],
    schedule: Schedule,
) -> None:
    """Refuse, before hours of work, a network that the plan does not fit, and folders of other runs."""
    plans, description = read_plans(workspace, dataset)
    for each in contestants:
        check_network(each.trainer, plans, description)
        for fold in folds:
            small = _small_run(workspace, dataset, each, fold, schedule)
            if small is None:
                check_run(_own_run(workspace, dataset, each, fold, schedule))
            elif not (small.folder / FINAL).exists():
                check_run(small)


def _run(workspace: Workspace, dataset: Dataset, each: Contestant, fold: int, schedule: Schedule) -> Run:
    """The run of a contestant; one that begins by UpKern has the small network trained first."""
    run = _own_run(workspace, dataset, each, fold, schedule)
    small = _small_run(workspace, dataset, each, fold, schedule)
    if small is None:
        return run
    if not (small.folder / FINAL).exists():
        train_run(small)
    return replace(run, start=weights_of_small_kernel(small.folder, "mednext-train train"))


def _own_run(workspace: Workspace, dataset: Dataset, each: Contestant, fold: int, schedule: Schedule) -> Run:
    own = replace(schedule, epochs=schedule.epochs * each.times)
    if issubclass(each.trainer, nnUNetTrainerMedNeXt):
        rate = recipe_schedule(dataset.task, each.trainer.kernel_size).learning_rate
        own = replace(own, learning_rate=rate)
    return Run(workspace, dataset, each.trainer, fold, own)


def _small_run(
    workspace: Workspace, dataset: Dataset, each: Contestant, fold: int, schedule: Schedule
) -> Run | None:
    """The run with whose weights a contestant begins by UpKern."""
    if not each.upkern or not issubclass(each.trainer, nnUNetTrainerMedNeXt):
        return None
    return Run(workspace, dataset, mednext_trainer(each.trainer.variant, 3), fold, schedule)


def imported_entry(workspace: Workspace, dataset: Dataset, folder: Path, folds: Iterable[int]) -> Entry:
    """The results of a training of nnU-Net itself on the same split.

    Args:
        folder: of its results, such as `nnUNetTrainer__nnUNetPlans__2d`, with `fold_0/validation`.

    Raises:
        OptionError: a fold was not validated, or on other cases.
    """
    results: list[CaseResult] = []
    for fold in folds:
        results += fold_results(workspace, dataset, folder / f"fold_{fold}", fold)
        if read_record(folder / f"fold_{fold}") is None:  # 'baseline' leaves one
            _warn_of_mirroring(workspace, dataset, folder / f"fold_{fold}")
    return Entry(folder.name, folder.name.replace("__", ", "), results)


def _warn_of_mirroring(workspace: Workspace, dataset: Dataset, folder: Path) -> None:
    """Tell of a training by nnU-Net that mirrored, or may have mirrored, labels that name a side."""
    plans, description = read_plans(workspace, dataset)
    parts = folder.parent.name.split("__")  # trainer, plans and configuration, where it is nnU-Net's name
    dimensions = 2 if parts[-1] == "2d" else 3
    harmless = mirrored_axes(description, plans, range(dimensions), dimensions) or ()
    axes = axes_of_trainer(parts[0])
    if len(harmless) < dimensions and (
        axes is None or {each for each in axes if each < dimensions} - {*harmless}
    ):
        logger.warning(
            "%s: its training may have mirrored the images from side to side, and with them labels that name "
            "a side: compare with one of 'mednext-train baseline', which does not.",
            folder,
        )


def fold_results(workspace: Workspace, dataset: Dataset, folder: Path, fold: int) -> list[CaseResult]:
    """The scores of a fold's validation cases, from the segmentations in its folder `validation`.

    Raises:
        OptionError: a case was not segmented, or the data set is not planned.
        GeometryError: a segmentation lies on another grid than its labels.
    """
    cases = validation_cases(workspace, dataset, fold)
    labels = workspace.raw / dataset.folder_name / "labelsTr"
    structures = _structures(workspace, dataset)
    kept = _kept_scores(folder / SCORES)
    results = []
    for case in cases:
        file = folder / "validation" / f"{case}{dataset.file_ending}"
        if not file.is_file():
            raise OptionError(f"{file} does not exist: validate this fold on the split of this data set.")
        truth = labels / file.name
        stamp = digest([structures, dataset.ignored, *(each.stat().st_mtime_ns for each in (file, truth))])
        scores = _as_scores(kept.get(case), stamp, structures)
        if scores is None:
            scores = _scores(truth, file, structures, dataset.ignored)
        kept[case] = {"stamp": stamp, "scores": {name: asdict(each) for name, each in scores.items()}}
        results.append(CaseResult(case, scores, 0.0, fold))
    with replacing(folder / SCORES) as temporary:
        temporary.write_text(json.dumps(kept), encoding="utf-8")
    return results


def _structures(workspace: Workspace, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The label values of everything that was trained: labels, or the regions of the plan."""
    file = workspace.preprocessed / dataset.folder_name / DATASET_FILE
    trained = read_description(file, dataset.identifier, dataset.name, read_plans(workspace, dataset)[1])
    return {name: each if isinstance(each, tuple) else (each,) for name, each in trained.labels.items()}


def _as_scores(said: Any, stamp: str, structures: Iterable[str]) -> dict[str, Score] | None:
    """The scores of a case that were kept; None where they are not of this file, or damaged."""
    try:
        if said["stamp"] != stamp:
            return None
        scores = {name: Score(**said["scores"][name]) for name in structures}
    except (AttributeError, KeyError, TypeError):
        return None
    return scores if all(map(is_sound, scores.values())) else None


def _kept_scores(file: Path) -> dict[str, Any]:
    """Scores that were computed before; none where the file cannot be read."""
    if not file.is_file():
        return {}
    try:
        kept = read_json(file, OptionError)
    except OptionError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _scores(
    labels: Path, file: Path, structures: Mapping[str, tuple[int, ...]], ignored: int | None
) -> dict[str, Score]:
    result = read_image(file)
    truth = labels_on(labels, result.geometry)
    return compare(truth, result.array, structures, result.geometry.spacing[::-1], ignored)
