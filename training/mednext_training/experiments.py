"""Several networks in one frame: the same plan, folds and schedule; then one report over all of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mednext.errors import OptionError
from mednext.images.formats.image_files import read_image
from mednext.model.description import VARIANT_NAMES
from mednext.system.atomic import replacing
from mednext.system.json_reading import read_json

from .baselines import nnUNetTrainerPlain, nnUNetTrainerSwinUNETR, nnUNetTrainerUNETR
from .comparison import Entry
from .datasets import Dataset
from .evaluation import CaseResult, compare, labels_on
from .metrics import Score
from .schedule import Schedule, recipe_schedule
from .splits import validation_cases
from .start_weights import weights_of_small_kernel
from .trainer import mednext_trainer, nnUNetTrainerMedNeXt
from .trainer_frame import FINAL, FramedTrainer
from .training import Run, train_run, validate_run
from .workspace import Workspace

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

    Args:
        schedule: of all; without a learning rate each network has its own.

    Returns:
        The results of each contestant on the validation cases, as nnU-Net's inference segments them.

    Raises:
        OptionError, NumericalError, Cancelled: as `train_run`.
    """
    found: dict[str, list[CaseResult]] = {each.name: [] for each in contestants}
    for fold in folds:
        for each in contestants:
            run = _run(workspace, dataset, each, fold, schedule)
            logger.info("%s, fold %d: %s", each.name, fold, train_run(run))
            validate_run(run)
            found[each.name] += fold_results(workspace, dataset, run.folder, fold)
    return [Entry(each.name, each.trainer.title, found[each.name]) for each in contestants]


def _run(workspace: Workspace, dataset: Dataset, each: Contestant, fold: int, schedule: Schedule) -> Run:
    own = replace(schedule, epochs=schedule.epochs * each.times)
    if not issubclass(each.trainer, nnUNetTrainerMedNeXt):
        return Run(workspace, dataset, each.trainer, fold, own)
    rate = recipe_schedule(dataset.task, each.trainer.kernel_size).learning_rate
    run = Run(workspace, dataset, each.trainer, fold, replace(own, learning_rate=rate))
    if not each.upkern:
        return run
    small = Run(workspace, dataset, mednext_trainer(each.trainer.variant, 3), fold, schedule)
    if not (small.folder / FINAL).exists():
        train_run(small)
    return replace(run, start=weights_of_small_kernel(small.folder, "mednext-train train"))


def imported_entry(workspace: Workspace, dataset: Dataset, folder: Path, folds: Iterable[int]) -> Entry:
    """The results of a training of nnU-Net itself on the same split.

    Args:
        folder: of its results, such as `nnUNetTrainer__nnUNetPlans__2d`, with `fold_0/validation`.

    Raises:
        OptionError: a fold was not validated, or on other cases.
    """
    results = [
        each for fold in folds for each in fold_results(workspace, dataset, folder / f"fold_{fold}", fold)
    ]
    return Entry(folder.name, folder.name.replace("__", ", "), results)


def fold_results(workspace: Workspace, dataset: Dataset, folder: Path, fold: int) -> list[CaseResult]:
    """The scores of a fold's validation cases, from the segmentations in its folder `validation`.

    Raises:
        OptionError: a case was not segmented.
        GeometryError: a segmentation lies on another grid than its labels.
    """
    cases = validation_cases(workspace, dataset, fold)
    kept = _kept_scores(folder / SCORES)
    results = []
    for case in cases:
        file = folder / "validation" / f"{case}{dataset.file_ending}"
        if not file.is_file():
            raise OptionError(f"{file} does not exist: validate this fold on the split of this data set.")
        stamp = str(file.stat().st_mtime_ns)
        if kept.get(case, {}).get("stamp") != stamp:
            kept[case] = {"stamp": stamp, "scores": _scores(workspace, dataset, case, file)}
        scores = {name: Score(**values) for name, values in kept[case]["scores"].items()}
        results.append(CaseResult(case, scores, 0.0, fold))
    with replacing(folder / SCORES) as temporary:
        temporary.write_text(json.dumps(kept), encoding="utf-8")
    return results


def _kept_scores(file: Path) -> dict[str, Any]:
    """Scores that were computed before; none where the file cannot be read."""
    if not file.is_file():
        return {}
    try:
        kept = read_json(file, OptionError)
    except OptionError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _scores(workspace: Workspace, dataset: Dataset, case: str, file: Path) -> dict[str, Any]:
    labels = workspace.raw / dataset.folder_name / "labelsTr" / f"{case}{dataset.file_ending}"
    result = read_image(file)
    truth = labels_on(labels, result.geometry)
    structures = {name: each if isinstance(each, tuple) else (each,) for name, each in dataset.labels.items()}
    scores = compare(truth, result.array, structures, result.geometry.spacing[::-1])
    return {name: asdict(each) for name, each in scores.items()}
