"""A bundle on whole images, case by case, through the same pipeline that a user's image takes."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

import numpy as np
from mednext import load_bundle, read_channels, segment
from mednext.errors import GeometryError, OptionError, UnreadableImageError, UnsupportedImageError
from mednext.images.formats.image_files import read_image
from mednext.images.geometry import Geometry
from mednext.inference.options import Options
from mednext.model.bundle import Bundle
from mednext.model.labels import Label, Region
from mednext.system.atomic import replacing
from mednext.system.shown_text import csv_cell, shown

from ..conversion.case_check import SAME_PLACE, described
from ..datasets import FILE_ENDING
from .metrics import Score, score

logger = logging.getLogger(__name__)

_USUAL = Options()


@dataclass(frozen=True)
class CaseResult:
    """One case: a score for each region and label, and seconds; `fold` says which one segmented it."""

    case: str
    scores: Mapping[str, Score]
    seconds: float
    fold: int | None = None

    @property
    def dice(self) -> dict[str, float]:
        """Dice of each structure that the truth or the result has."""
        return {name: score.dice for name, score in self.scores.items() if score.dice is not None}

    @property
    def mean(self) -> float | None:
        """Mean Dice over these; None when there are none."""
        return _mean(list(self.dice.values()))


def evaluate(
    bundle: Bundle | str | Path,
    raw: Path,
    cases: Iterable[str],
    folds: Sequence[int] | None = None,
    part: str = "Tr",
    judge: Callable[[np.ndarray, np.ndarray], None] | None = None,
    options: Options = _USUAL,
    ending: str = FILE_ENDING,
    ignored: int | None = None,
) -> list[CaseResult]:
    """Segment cases of a raw nnU-Net data set and compare with their labels.

    Args:
        bundle: the model.
        raw: folder with `imagesTr` and `labelsTr`.
        cases: case names without endings.
        folds: folds to average; all by default. Give only folds that did not train on the cases.
        part: "Tr", or "Ts" for the folder of test cases.
        judge: also gets the labels `(Z, Y, X)` of truth and result of each case.
        options: of the run; `folds` takes the place of theirs.
        ending: of the files.
        ignored: value of the voxels that nobody annotated, see `compare`.

    Raises:
        GeometryError: the labels of a case lie on another grid than its image.
        UnreadableImageError: a case has no image, or an image or its labels cannot be read.
        UnsupportedImageError: a case has a label that the model does not have.
        OptionError: there are no cases.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    how = replace(options, folds=folds)
    results = []
    for case in cases:
        started = time.monotonic()
        volume = read_channels(images_of(raw, part, case, ending))
        found = segment(volume, bundle, how)
        truth = labels_on(raw / f"labels{part}" / f"{case}{ending}", volume.geometry)
        known = {label.value for label in found.labels}.union(*(each.labels for each in found.regions))
        strange = sorted({*np.unique(truth).tolist()} - {0, ignored, *known})
        if strange:
            raise UnsupportedImageError(
                f"{case} has the label {strange[0]:g}, which the model {bundle.model.name} does not have. "
                "Evaluate a model of this data set."
            )
        seconds = time.monotonic() - started
        structures = structures_of(found.labels, found.regions)
        scores = compare(truth, found.labelmap, structures, volume.geometry.spacing[::-1], ignored)
        results.append(CaseResult(case, scores, seconds))
        if judge:
            judge(truth, _counted(truth, found.labelmap, ignored))
        logger.info("%s: Dice %s in %.1f s", case, _text(results[-1].mean), seconds)
    if not results:
        raise OptionError("There are no cases to evaluate. Choose a fold with validation cases.")
    return results


def labels_on(path: Path, grid: Geometry) -> np.ndarray:
    """The label values `(Z, Y, X)` of a file on the grid of its image.

    Raises:
        GeometryError: they lie on another grid.
        UnreadableImageError: the file is missing or damaged.
    """
    labels = read_image(path)
    if not labels.geometry.close_to(grid, SAME_PLACE):
        raise GeometryError(
            f"{path} has {described(labels.geometry)}, not {described(grid)} as the other: bring both to one "
            "grid."
        )
    return labels.array


def images_of(raw: Path, part: str, case: str, ending: str = FILE_ENDING) -> list[Path]:
    """The images of a case, one per channel; `part` is "Tr" or "Ts". Raises `UnreadableImageError`."""
    folder = raw / f"images{part}"
    images = sorted(folder.glob(f"{escape(case)}_[0-9][0-9][0-9][0-9]{ending}"))
    if not images:
        raise UnreadableImageError(f"{case} has no images in {folder}.")
    return images


def structures_of(labels: Iterable[Label], regions: Iterable[Region]) -> dict[str, tuple[int, ...]]:
    """The label values of each structure: the regions first, then the labels that are none of them."""
    labels, regions = list(labels), list(regions)
    found = {each.name: tuple(each.labels) for each in regions}
    painted = {label.value for label in labels}
    return found | {
        label.name: _values_of(label.value, painted, regions) for label in labels if label.name not in found
    }


def _values_of(value: int, painted: set[int], regions: Sequence[Region]) -> tuple[int, ...]:
    """The truth's values that a model of regions paints with one: those of its region that no label has."""
    around = [set(region.labels) for region in regions if value in region.labels]
    if not around:
        return (value,)
    narrowest = min(around, key=len)
    within = {each for region in regions if set(region.labels) < narrowest for each in region.labels}
    return tuple(sorted((narrowest - within - painted) | {value}))


def compare(
    truth: np.ndarray,
    result: np.ndarray,
    structures: Mapping[str, Sequence[int]],
    spacing: Sequence[float],
    ignored: int | None = None,
) -> dict[str, Score]:
    """A score for each structure of two labelmaps `(Z, Y, X)` with voxels of this size in mm, `(Z, Y, X)`.

    Where the truth has the value `ignored`, neither has a structure, as nnU-Net counts.
    """
    result = _counted(truth, result, ignored)
    return {
        name: score(np.isin(truth, values), np.isin(result, values), spacing)
        for name, values in structures.items()
    }


def _counted(truth: np.ndarray, result: np.ndarray, ignored: int | None) -> np.ndarray:
    return result if ignored is None else np.where(truth == ignored, 0, result)


def mean_dice(results: Sequence[CaseResult]) -> dict[str, float]:
    """Mean over cases of each structure that any has, and of these means as "mean"."""
    means = {
        name: _mean([each.dice[name] for each in results if name in each.dice]) for name in _names(results)
    }
    known = {name: value for name, value in means.items() if value is not None}
    overall = _mean(list(known.values()))
    return known | ({} if overall is None else {"mean": overall})


def summary(results: Sequence[CaseResult]) -> dict[str, dict[str, float | int | None]]:
    """For each structure the means of its scores, in how many cases they were taken, and how often it was
    missed or invented; and the means of the means as "mean"."""
    table = {name: _summary([result.scores[name] for result in results]) for name in _names(results)}
    overall: dict[str, float | int | None] = {
        key: _mean([row[key] for row in table.values() if row[key] is not None])  # type: ignore[misc]
        for key in ("dice", "surface_dice", "hd95_mm")
    }
    counts = {key: sum(int(row[key] or 0) for row in table.values()) for key in ("missed", "invented")}
    return table | {"mean": overall | {"cases": len(results)} | counts}


def _summary(scores: Sequence[Score]) -> dict[str, float | int | None]:
    states = [each.state for each in scores]
    return {
        "dice": _mean([each.dice for each in scores if each.dice is not None]),
        "surface_dice": _mean([each.surface_dice for each in scores if each.surface_dice is not None]),
        "hd95_mm": _mean([each.hd95_mm for each in scores if each.hd95_mm is not None]),
        "cases": len(states) - states.count("absent"),
        "missed": states.count("missed"),
        "invented": states.count("invented"),
    }


def _names(results: Sequence[CaseResult]) -> list[str]:
    return list(dict.fromkeys(name for result in results for name in result.scores))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def markdown_table(results: Sequence[CaseResult]) -> str:
    """Dice with a line per case and the mean at the end; then all scores with a line per structure."""
    names, means = _names(results), mean_dice(results)
    lines = [
        "| case | " + " | ".join(map(shown, names)) + " | mean |",
        "|---|" + "---|" * (len(names) + 1),
        *(_row(each.case, [*(each.dice.get(name) for name in names), each.mean]) for each in results),
        _row(f"**mean of {len(results)} cases**", [*(means.get(name) for name in names), means.get("mean")]),
        "",
        "| structure | Dice | surface Dice at 1 mm | HD95 in mm | cases | missed | invented |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in summary(results).items():
        scores = [
            _text(row[key], digits) for key, digits in (("dice", 4), ("surface_dice", 4), ("hd95_mm", 2))
        ]
        counts = [str(row[key]) for key in ("cases", "missed", "invented")]
        lines.append(f"| {shown(name)} | " + " | ".join([*scores, *counts]) + " |")
    lines += [
        "",
        "HD95 is of the cases in which the structure was found; Dice is 0 where it was missed or invented.",
    ]
    return "\n".join(lines) + "\n"


def write_csv(path: Path, results: Sequence[CaseResult]) -> None:
    """Write a line per case and structure; empty fields are scores that do not exist.

    Raises:
        OutputError, DiskSpaceError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(SCORE_COLUMNS)
        table.writerows(score_rows(results))


SCORE_COLUMNS = ("case", "fold", "structure", "state", "dice", "surface_dice_1mm", "hd95_mm", "seconds")


def score_rows(results: Iterable[CaseResult]) -> Iterator[list[str]]:
    """Yield the values of `SCORE_COLUMNS` for each case and structure."""
    for each in results:
        for name, one in each.scores.items():
            numbers = [_text(value, 6, "") for value in (one.dice, one.surface_dice, one.hd95_mm)]
            fold = "" if each.fold is None else str(each.fold)
            yield [csv_cell(each.case), fold, csv_cell(name), one.state, *numbers, f"{each.seconds:.1f}"]


def _row(name: str, values: Sequence[float | None]) -> str:
    return f"| {shown(name)} | " + " | ".join(map(_text, values)) + " |"


def _text(value: float | None, digits: int = 4, missing: str = "–") -> str:
    return missing if value is None else f"{value:.{digits}f}"
