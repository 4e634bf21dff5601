"""Give names, colours and coded meanings to the regions of an imported model, and to the labels in them.

A checkpoint names its regions, not its labels. A label gets the name that the user gives it, or that of the
label in the same regions of a task in the catalog, or else one made of the names of its regions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import CheckpointError
from ..library.catalog import Task
from ..library.catalog_source import find_task, load_catalog
from ..model.labels import Label, Region
from ..model.regions import beyond_painting, derived_names, painted_values, with_painted
from .import_options import ImportOptions
from .label_naming import color_of, name_labels, words_of

logger = logging.getLogger(__name__)


def name_regions(
    named: Mapping[str, Sequence[int]], order: Sequence[int], options: ImportOptions
) -> tuple[tuple[Label, ...], tuple[Region, ...]]:
    """The labels and the regions of an imported model.

    Args:
        named: the label values of each region of the checkpoint, in the order of the output channels.
        order: the label that nnU-Net paints for each region.
        options: its `labels` name the labels; regions and labels are looked up in its `task`.

    Raises:
        CheckpointError: some label has no name, or a region is painted with a label of another one.
        UnknownModelError: there is no such task.
    """
    task = _task_of(tuple(named), options)
    regions = with_painted([_region(name, tuple(values), task) for name, values in named.items()], order)
    for region, value in zip(regions, order, strict=True):
        if value not in region.labels:
            raise CheckpointError(
                f"dataset.json paints the region {region.name!r} with label {value} (regions_class_order is "
                f"{list(order)}), but the region's labels are {list(region.labels)}. Correct one of them."
            )
    values = painted_values(regions, order)
    if beyond_painting(regions, order):
        logger.warning(
            "Painting the regions of dataset.json in the order %s, as nnU-Net does, would mix up some of "
            "their labels: where a label lies in just the regions that were found, the result has it.",
            list(order),
        )
    if options.labels:
        return name_labels(values, options), regions
    known = _labels_of_task(regions, values, task) if task else {}
    names = derived_names(regions, values)
    whole = {region.name: region for region in regions}
    return tuple(_label(value, names[value], known.get(value), whole) for value in values), regions


def _label(value: int, name: str, known: Label | None, whole: Mapping[str, Region]) -> Label:
    """A label that is a region of its own gets the region's name, others that of the task, if known."""
    if name in whole:
        look = known or whole[name]
        return Label(value, name, look.color, look.terminology)
    return known or Label(value, name, color_of(value))


def regions_of_task(labels: Sequence[Label], options: ImportOptions) -> tuple[Region, ...]:
    """The regions of the task that the user names, as sets of a softmax's labels of the same names."""
    task = find_task(options.task) if options.task else None
    ours = {label.name: label.value for label in labels}
    names = {label.value: label.name for label in task.labels} if task else {}
    return tuple(
        replace(region, labels=tuple(ours[names[value]] for value in region.labels))
        for region in (task.regions if task else ())
        if all(names[value] in ours for value in region.labels)
    )


def _task_of(names: Sequence[str], options: ImportOptions) -> Task | None:
    """The task that the user names, or the one that consists of these regions.

    Several tasks that differ in their label values only, such as BraTS 2021 and 2023, count as one.
    """
    if options.task:
        return find_task(options.task)
    tasks = [
        task
        for task in load_catalog().tasks
        if task.regions and all(_find(name, task.regions) for name in names) and _all_in_regions(task)
    ]
    alike = {frozenset((label.name, _regions_around(label, task)) for label in task.labels) for task in tasks}
    return tasks[0] if len(alike) == 1 else None


def _all_in_regions(task: Task) -> bool:
    return all(_regions_around(label, task) for label in task.labels)


def _regions_around(label: Label, task: Task) -> frozenset[str]:
    return frozenset(region.name for region in task.regions if label.value in region.labels)


def _region(name: str, values: tuple[int, ...], task: Task | None) -> Region:
    known = _find(name, (*task.regions, *task.labels) if task else ())
    if known is None:
        return Region(name, values, color_of(10 * len(values) + values[0]))
    return Region(name, values, known.color, known.terminology)


def _find(name: str, structures: Sequence[Label | Region]) -> Label | Region | None:
    return next((each for each in structures if words_of(each.name) == words_of(name)), None)


def _labels_of_task(regions: Sequence[Region], values: Sequence[int], task: Task) -> dict[int, Label]:
    """For each label of the model the only one of the task in the same regions, if all of these are known."""
    theirs = [_find(region.name, task.regions) for region in regions]
    sets = [set(each.labels) for each in theirs if isinstance(each, Region)]
    if len(sets) < len(regions):
        return {}
    places = {label: [label.value in each for each in sets] for label in task.labels}
    every = sorted({value for region in regions for value in region.labels})
    ours = {value: [value in region.labels for region in regions] for value in every}
    found = {}
    for value in values:
        alike = [label for label, place in places.items() if place == ours[value]]
        if len(alike) == 1 and list(ours.values()).count(ours[value]) == 1:
            found[value] = replace(alike[0], value=value, region=())
    return found
