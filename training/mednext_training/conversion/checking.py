"""A data set that lies in nnU-Net's raw layout, read whole before anything is planned on it."""

from __future__ import annotations

import sys
from collections import Counter

from mednext.errors import InputError

from ..datasets import Dataset
from ..workspace import Workspace
from .converting import Choices, check_cases
from .itk_view import check_itk
from .own import raw_form
from .report import Report, check_taught
from .tree import find_cases


def check_dataset(workspace: Workspace, dataset: Dataset) -> Report:
    """Check every case of a data set; the report goes to the workspace's folder `reports` and to the screen.

    Cases without any structure are taken, and noted: somebody collected them.

    Raises:
        InputError: there are no cases, some have problems, or they are stored in several orientations.
    """
    form = raw_form(dataset)
    folder = workspace.raw / dataset.folder_name
    found = find_cases([folder], form.layout, dataset.same_patient)
    if not found.cases:
        raise InputError(f"{folder} has no cases: their files are {form.layout.hint}.")
    report = check_cases(form, found, Choices(allow_empty=True)).report
    for case in report.cases:
        check_itk(case)
    table = workspace.reports / f"{dataset.folder_name}.csv"
    report.write(table)
    sys.stdout.write(report.text())
    if report.faulty:
        first = report.faulty[0]
        raise InputError(
            f"{len(report.faulty)} of {len(report.cases)} cases of {dataset.folder_name} have problems "
            f"({first.name}: {first.problems[0]}): correct or remove them. {table} names all."
        )
    check_taught(report)
    orientations = Counter(case.grid.orientation for case in report.cases if case.grid)
    if len(orientations) > 1:
        listed = ", ".join(f"{count} as {code}" for code, count in orientations.most_common())
        raise InputError(
            f"The images of {dataset.folder_name} are not all stored alike ({listed}), and nnU-Net would "
            f"train on each as it is: bring them to one: 'mednext-train convert own {folder} --name NAME'."
        )
    return report
