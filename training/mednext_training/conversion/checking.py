"""A data set that lies in nnU-Net's raw layout, read whole before anything is planned on it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from mednext.errors import InputError
from mednext.system.json_reading import is_unicode
from mednext.system.shown_text import shown_lines
from mednext.training_set.dataset import DATASET_FILE, IMAGES, LABELS

from ..datasets import Dataset
from ..workspace import Workspace
from .case_check import CheckedCase
from .converting import Choices, check_cases
from .itk_view import check_itk
from .own import raw_form
from .report import Report, check_taught
from .tree import find_cases


def check_dataset(workspace: Workspace, dataset: Dataset) -> Report:
    """Check every case of a data set; the report goes to the workspace's folder `reports` and to the screen.

    Cases without any structure are taken, and noted: somebody collected them.

    Raises:
        InputError: there are no cases, some have problems, or they are stored in several orientations; or the
            label values have gaps.
    """
    form = raw_form(dataset)
    folder = workspace.raw / dataset.folder_name
    _check_values(folder, dataset)
    found = find_cases([folder], form.layout, dataset.same_patient)
    if not found.cases:
        raise InputError(f"{folder} has no cases: their files are {form.layout.hint}.")
    _check_hidden(folder, dataset)
    report = check_cases(form, found, Choices(allow_empty=True))
    for case in report.cases:
        _check_names(case, folder, dataset)
        check_itk(case)
    table = workspace.reports / f"{dataset.folder_name}.csv"
    report.write(table)
    sys.stdout.write(shown_lines(report.text()))
    if report.faulty:
        raise InputError(f"{report.count_of_faulty()}: correct or remove them. {table} names all.")
    check_taught(report)
    orientations = Counter(case.grid.orientation for case in report.cases if case.grid)
    if len(orientations) > 1:
        listed = ", ".join(f"{count} as {code}" for code, count in orientations.most_common())
        raise InputError(
            f"The images of {dataset.folder_name} are not all stored alike ({listed}), and nnU-Net would "
            f"train on each as it is: bring them to one: 'mednext-train convert own {folder} --name NAME'."
        )
    return report


def _check_values(folder: Path, dataset: Dataset) -> None:
    """Refuse labels that are not 1, 2, 3 ..., each once, and no regions: nnU-Net would stop at them."""
    values = list(dataset.labels.values()) + ([] if dataset.ignored is None else [dataset.ignored])
    in_order = set(values) == set(range(1, len(values) + 1)) and dataset.ignored in (None, len(values))
    if not dataset.regions and not in_order:
        raise InputError(
            f"The labels of {folder / DATASET_FILE} have the values {values}, but nnU-Net trains 1, 2, 3 ... "
            "without gaps: 'mednext-train convert own' with --channel, --labels and --label renumbers them."
        )


def _check_hidden(folder: Path, dataset: Dataset) -> None:
    """Refuse hidden files, such as a Mac adds, which nnU-Net would read as images."""
    hidden = sorted((folder / IMAGES).glob(f".*{dataset.file_ending}"))
    if hidden:
        raise InputError(f"nnU-Net would read {hidden[0]} as an image: remove the hidden files there.")


def _check_names(case: CheckedCase, folder: Path, dataset: Dataset) -> None:
    """Add a problem to a case with a file in another folder, or of another name, than nnU-Net reads."""
    names = [f"{IMAGES}/{case.name}_{number:04d}" for number in range(len(case.found.images))]
    for path, name in zip(
        (*case.found.images, case.found.label), (*names, f"{LABELS}/{case.name}"), strict=True
    ):
        wanted = folder / f"{name}{dataset.file_ending}"
        if path is not None and path != wanted:
            case.problems.append(
                f"nnU-Net would pass over {path}: name it {wanted}, or bring all into one form "
                "('mednext-train convert own')."
            )
        if path is not None and not is_unicode(str(path)):
            case.problems.append(
                f"nnU-Net cannot open {path}, whose name is not in UTF-8: rename it, or bring all into one "
                "form ('mednext-train convert own')."
            )
