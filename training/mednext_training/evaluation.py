"""Dice of a bundle on whole images, case by case, through the same pipeline that a user's image takes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from mednext import load_bundle, read_channels, segment
from mednext.bundle import Bundle
from mednext.errors import GeometryError, OptionError, UnreadableImageError

from .datasets import FILE_ENDING, Dataset
from .workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseResult:
    """One case: Dice per label (NaN where neither the truth nor the result has it), and seconds."""

    case: str
    dice: Mapping[str, float]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean over labels that occur in the truth or in the result; NaN when none does."""
        values = np.array(list(self.dice.values()))
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def dice(truth: np.ndarray, result: np.ndarray, value: int) -> float:
    """Dice of one label of two labelmaps of equal shape; NaN when neither has it, as nnU-Net counts."""
    a, b = truth == value, result == value
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else float("nan")


def validation_cases(workspace: Workspace, dataset: Dataset, fold: int) -> list[str]:
    """The validation cases of a fold, as nnU-Net split them before training.

    Raises:
        OptionError: the data set was not split yet, or has no such fold.
    """
    splits = workspace.preprocessed / dataset.folder_name / "splits_final.json"
    if not splits.is_file():
        raise OptionError(f"{splits} does not exist: train first, the split is made at the start.")
    folds = json.loads(splits.read_text(encoding="utf-8"))
    if not 0 <= fold < len(folds):
        raise OptionError(f"There is no fold {fold} in {splits}: it has {len(folds)}, counted from 0.")
    return sorted(folds[fold]["val"])


def evaluate(
    bundle: Bundle | str | Path,
    raw: Path,
    cases: Iterable[str],
    folds: Sequence[int] | None = None,
    mirroring: bool = True,
) -> list[CaseResult]:
    """Segment cases of a raw nnU-Net data set and compare with their labels.

    Args:
        bundle: the model.
        raw: folder with `imagesTr` and `labelsTr`.
        cases: case names without endings.
        folds: folds to average; all by default. Give only folds that did not train on the cases.
        mirroring: average over mirrored tiles.

    Raises:
        GeometryError: the labels of a case lie on another grid than its image.
        UnreadableImageError: a case has no image, or an image or its labels cannot be read.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    results = []
    for case in cases:
        started = time.monotonic()
        images = sorted((raw / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9]{FILE_ENDING}"))
        if not images:
            raise UnreadableImageError(f"{case} has no images in {raw / 'imagesTr'}.")
        found = segment(read_channels(images), bundle, folds=folds, mirroring=mirroring)
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "labelsTr" / f"{case}{FILE_ENDING}")))
        if truth.shape != found.labelmap.shape:
            raise GeometryError(f"{case}: the labels have shape {truth.shape}, not {found.labelmap.shape}.")
        scores = {label.name: dice(truth, found.labelmap, label.value) for label in found.labels}
        results.append(CaseResult(case, scores, time.monotonic() - started))
        logger.info("%s: Dice %.4f in %.1f s", case, results[-1].mean, results[-1].seconds)
    return results


def mean_dice(results: Sequence[CaseResult]) -> dict[str, float]:
    """Mean over cases of each label, and of their mean as "mean"."""
    labels = list(results[0].dice)
    means = {label: float(np.nanmean([result.dice[label] for result in results])) for label in labels}
    return means | {"mean": float(np.mean(list(means.values())))}


def markdown_table(results: Sequence[CaseResult]) -> str:
    """A table with a line per case and the mean at the end."""
    labels = list(results[0].dice)
    lines = [
        "| case | " + " | ".join(labels) + " | mean |",
        "|---|" + "---|" * (len(labels) + 1),
        *(_row(result.case, [*result.dice.values(), result.mean]) for result in results),
        _row(f"**mean of {len(results)} cases**", list(mean_dice(results).values())),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, values: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join("–" if np.isnan(value) else f"{value:.4f}" for value in values) + " |"
