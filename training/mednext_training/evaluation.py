"""Dice of a bundle on whole images, case by case, through the same pipeline that a user's image takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mednext import load_bundle, read_channels, segment
from mednext.errors import GeometryError, OptionError, UnreadableImageError, UnsupportedImageError
from mednext.model.bundle import Bundle

from .datasets import FILE_ENDING, read_labels

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
        return _mean(list(self.dice.values()))


def dice(truth: np.ndarray, result: np.ndarray, values: int | Sequence[int]) -> float:
    """Dice of one label, or of the labels of a region, of two labelmaps of equal shape.

    NaN when neither has it, as nnU-Net counts.
    """
    a, b = np.isin(truth, values), np.isin(result, values)
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else float("nan")


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
        UnsupportedImageError: a case has a label that the model does not have.
        OptionError: there are no cases.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    results = []
    for case in cases:
        started = time.monotonic()
        images = sorted((raw / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9]{FILE_ENDING}"))
        if not images:
            raise UnreadableImageError(f"{case} has no images in {raw / 'imagesTr'}.")
        found = segment(read_channels(images), bundle, folds=folds, mirroring=mirroring)
        truth = read_labels(raw / "labelsTr" / f"{case}{FILE_ENDING}")
        if truth.shape != found.labelmap.shape:
            raise GeometryError(f"{case}: the labels have shape {truth.shape}, not {found.labelmap.shape}.")
        known = {label.value for label in found.labels}.union(*(each.labels for each in found.regions))
        strange = sorted({*np.unique(truth).tolist()} - {0, *known})
        if strange:
            raise UnsupportedImageError(
                f"{case} has the label {strange[0]:g}, which the model {bundle.model.name} does not have. "
                "Evaluate a model of this data set."
            )
        structures: dict[str, int | Sequence[int]] = {each.name: each.labels for each in found.regions}
        structures |= {label.name: label.value for label in found.labels}
        scores = {name: dice(truth, found.labelmap, values) for name, values in structures.items()}
        results.append(CaseResult(case, scores, time.monotonic() - started))
        logger.info("%s: Dice %.4f in %.1f s", case, results[-1].mean, results[-1].seconds)
    if not results:
        raise OptionError("There are no cases to evaluate. Choose a fold with validation cases.")
    return results


def mean_dice(results: Sequence[CaseResult]) -> dict[str, float]:
    """Mean over cases of each label, and of their mean as "mean"; NaN where no case has the label."""
    means = {label: _mean([result.dice[label] for result in results]) for label in results[0].dice}
    return means | {"mean": _mean(list(means.values()))}


def _mean(values: Sequence[float]) -> float:
    """Mean of those that are not NaN; NaN where none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


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
