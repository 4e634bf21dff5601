"""Give names, colours and coded meanings to the label values of an imported model.

Names come from the user or from the checkpoint's own data set; the catalog adds colours and codes for names
that it knows. A number without a name is never named by guess.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import CheckpointError
from ..library.catalog import Task
from ..library.catalog_source import find_task, load_catalog
from ..model.labels import Label
from .import_options import ImportOptions

_SPELLINGS = {"tumour": "tumor", "oedema": "edema", "oesophagus": "esophagus"}
_GOLDEN_RATIO = 0.61803398875


def name_labels(
    values: Sequence[int], options: ImportOptions, known: Mapping[int, str] | None = None
) -> tuple[Label, ...]:
    """The labels of an imported model.

    Args:
        values: label values, ascending, without the background.
        options: its `labels` name them; its `task` names them in the catalog's order.
        known: names in the checkpoint's own data set.

    Raises:
        CheckpointError: some value has no name, a name belongs to no value, or the task has other values.
        UnknownModelError: there is no such task.
    """
    task = find_task(options.task) if options.task else None
    names = options.labels or known
    if names is None:
        return _labels_of_task(values, task)
    missing = [value for value in values if value not in names]
    if missing:
        raise CheckpointError(
            f"Label {missing[0]} has no name: the model has the labels {list(values)}, but the names are for "
            f"{sorted(names)}. Name every label."
        )
    surplus = sorted(set(options.labels or ()) - {0, *values})
    if surplus:
        raise CheckpointError(
            f"The model has the labels {list(values)}, but a name was given for {surplus[0]}. Name the "
            "labels that it has."
        )
    pool = list(task.labels if task else _all_labels())
    found = _matches({value: names[value] for value in values}, pool, loosely=task is not None)
    return tuple(
        replace(found[value], value=value, region=())
        if value in found
        else Label(value, names[value], color_of(value))
        for value in values
    )


def _labels_of_task(values: Sequence[int], task: Task | None) -> tuple[Label, ...]:
    if task is None:
        raise CheckpointError(
            f"The checkpoint knows its labels as the numbers {list(values)} only. Name them: give "
            "the task of the catalog that it was trained for, or a name for each number."
        )
    if [label.value for label in task.labels] != list(values):
        raise CheckpointError(
            f"The model has the labels {list(values)}, but the task {task.name} has "
            f"{[label.value for label in task.labels]}. Choose the task that it was trained for, or name the "
            "labels yourself."
        )
    return tuple(replace(label, region=()) for label in task.labels)


def _matches(names: Mapping[int, str], pool: list[Label], loosely: bool) -> dict[int, Label]:
    """For each value the pool's label of the same words; if `loosely`, the only one that contains them."""
    found: dict[int, Label] = {}
    for value, name in names.items():
        same = [label for label in pool if words_of(label.name) == words_of(name)]
        if same:
            found[value] = replace(same[0], name=same[0].name if loosely else name)
            pool.remove(same[0])
    for value, name in names.items() if loosely else ():
        similar = [label for label in pool if words_of(name) and words_of(name) < words_of(label.name)]
        if value not in found and len(similar) == 1:
            found[value] = similar[0]
            pool.remove(similar[0])
    return found


def words_of(name: str) -> frozenset[str]:
    """The words of a name, in one spelling."""
    words = re.findall(r"[a-z0-9]+", name.casefold())
    return frozenset(_SPELLINGS.get(word, word) for word in words)


def _all_labels() -> list[Label]:
    return [label for task in load_catalog().tasks for label in task.labels]


def color_of(value: int) -> tuple[int, int, int]:
    """A colour far from those of the neighbouring values."""
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN_RATIO % 1.0, 0.6, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
