"""Which cases a fold trains on and which it validates on: nnU-Net's `splits_final.json`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mednext.errors import OptionError
from mednext.system.atomic import replacing
from mednext.system.json_reading import read_json

from ..datasets import Dataset
from ..workspace import Workspace

logger = logging.getLogger(__name__)

FOLDS = 5  # of nnU-Net's cross-validation


def splits_file(workspace: Workspace, dataset: Dataset) -> Path:
    """Where the cases of each fold are listed."""
    return workspace.preprocessed / dataset.folder_name / "splits_final.json"


def read_splits(workspace: Workspace, dataset: Dataset) -> list[dict[str, list[str]]] | None:
    """The cases of each fold, "train" and "val"; None before planning.

    Raises:
        OptionError: the file is damaged, or a fold validates on a case that it trains on.
    """
    file = splits_file(workspace, dataset)
    if not file.is_file():
        return None
    splits = read_json(file, OptionError, "Remove it, and plan again.")
    if not isinstance(splits, list) or not splits or not all(map(_is_split, splits)):
        raise OptionError(f"{file} is not a list of nnU-Net's folds. Remove it, and plan again.")
    for number, split in enumerate(splits):
        both = {*split["train"]} & {*split["val"]}
        if both:
            raise OptionError(
                f"Fold {number} of {file} trains on {min(both)} and validates on it: correct the file, or "
                "remove it and plan again."
            )
    return splits


def split_of(workspace: Workspace, dataset: Dataset, fold: int | str) -> dict[str, list[str]] | str:
    """The cases of a fold, "train" and "val"; "all" for the fold of this name.

    Raises:
        OptionError: the data set was not planned yet, or has no such fold, which nnU-Net would replace by a
            random split.
    """
    if fold == "all":
        return "all"
    splits = read_splits(workspace, dataset)
    if splits is None:
        file = splits_file(workspace, dataset)
        raise OptionError(f"{file} does not exist: plan first, with 'mednext-train plan'.")
    if not 0 <= int(fold) < len(splits):
        raise OptionError(
            f"There is no fold {fold} in {dataset.folder_name}: it has {len(splits)}, from 0 on."
        )
    return splits[int(fold)]


def validation_cases(workspace: Workspace, dataset: Dataset, fold: int) -> list[str]:
    """The validation cases of a fold. Raises `OptionError`, as `split_of`."""
    split = split_of(workspace, dataset, fold)
    assert isinstance(split, dict)
    return sorted(split["val"])


def cases_of(raw: Path, part: str, ending: str) -> list[str]:
    """The cases of a raw data set that have labels; `part` is "Tr" for training or "Ts" for testing.

    Raises:
        OptionError: there are none.
    """
    cases = sorted(file.name.removesuffix(ending) for file in (raw / f"labels{part}").glob(f"[!.]*{ending}"))
    if not cases:
        raise OptionError(f"{raw} has no labelled cases in labels{part}: put them there.")
    return cases


def check_enough(dataset: Dataset, cases: Sequence[str]) -> None:
    """Refuse cases that cannot be split. Raises `OptionError`."""
    if len(cases) < 2:
        raise OptionError(
            f"{dataset.folder_name} has {len(cases)} case(s): training needs one, validation another."
        )


def renew_splits(
    workspace: Workspace, dataset: Dataset, cases: Sequence[str], same_patient: Sequence[Sequence[str]] = ()
) -> None:
    """Write nnU-Net's split of these cases, unless there is one of just these cases already.

    Args:
        workspace: where the data set was planned.
        dataset: the data set.
        cases: names of all cases; fewer than five make as many folds.
        same_patient: the cases of each patient with several; they stay together.

    Raises:
        OptionError: there is only one case.
    """
    file = splits_file(workspace, dataset)
    if file.is_file():
        splits = read_splits(workspace, dataset) or []
        if _covers(splits, set(cases)):
            _warn_of_parted(file, splits, same_patient)
            return
        logger.warning("The cases of %s changed: %s is made anew.", dataset.folder_name, file)
    check_enough(dataset, cases)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(_split(cases, same_patient)), encoding="utf-8")


def _split(cases: Sequence[str], same_patient: Sequence[Sequence[str]]) -> list[dict[str, list[str]]]:
    """nnU-Net's split, of patients where some have several cases; the first case stands for its patient."""
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    together = {names[0]: names for names in map(sorted, same_patient)}
    others = {name for names in together.values() for name in names[1:]}
    patients = sorted(set(cases) - others)
    if len(patients) < 2:
        logger.warning("All cases are of one patient: the measured accuracy says nothing about another one.")
        together, patients = {}, sorted(cases)
    splits = generate_crossval_split(patients, seed=12345, n_splits=min(FOLDS, len(patients)))
    return [
        {
            side: [str(case) for name in names for case in together.get(name, [name])]
            for side, names in each.items()
        }
        for each in splits
    ]


def _warn_of_parted(
    file: Path, splits: Sequence[dict[str, list[str]]], same_patient: Sequence[Sequence[str]]
) -> None:
    """Tell that a split which is kept has a patient on both sides."""
    for names in map(set, same_patient):
        if any(names & set(split["train"]) and names & set(split["val"]) for split in splits):
            logger.warning(
                "%s parts %s, which are of one patient: the measured accuracy will be too good. Remove the "
                "file and plan again to keep them together.",
                file,
                " and ".join(sorted(names)[:2]),
            )
            return


def _covers(splits: Sequence[dict[str, list[str]]], cases: set[str]) -> bool:
    """Whether the folds have all of the cases, and no others."""
    return {case for split in splits for case in (*split["train"], *split["val"])} == cases


def _is_split(split: Any) -> bool:
    return isinstance(split, dict) and all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names)
        for names in (split.get("train"), split.get("val"))
    )
