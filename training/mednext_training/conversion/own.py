"""Anybody's pairs of images and labels: found by patterns, or as nnU-Net or the Decathlon describe them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mednext.errors import OptionError
from mednext.library.catalog_source import find_task

from ..datasets import (
    FILE_ENDING,
    FOLDER_FORM,
    Dataset,
    datasets_in,
    misnamed,
    misplaced_channel,
    read_description,
)
from ..workspace import Workspace
from .archives import without_archive_suffix
from .challenges import dataset_of
from .form import Form, channels_named, channels_of, unchanged
from .source_description import SourceDescription, description_of
from .tree import Layout

logger = logging.getLogger(__name__)

FIRST_NUMBER = 501  # as the panel's training sets; below are public data sets
_IMAGES = r"(?:images?|imagesTr|imgs?)/(?P<case>[^/]+?)(?:[_-](?:image|img))?"
_LABELS = (
    r"(?:labels?|labelsTr|masks?|segmentations?|segs?)/"
    r"(?P<case>[^/]+?)(?:[_.-](?:labels?|labelmap|seg|segmentation|mask))?"
)
_TESTS = ((r"(?:images|labels)Ts/.*", "It is a test case."),)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


@dataclass(frozen=True)
class OwnData:
    """A user's description of their own data.

    Attributes:
        name: of the data set, for nnU-Net; "" takes that of the first source.
        number: of the data set; None takes the next free one from 501.
        channels: the pattern of each channel's images by its name; "" where they lie as usual.
        labels: the pattern of the label files; "" where they lie as usual.
        values: the name of each label value.
        task: task of the catalog that gives channels and labels.
    """

    name: str = ""
    number: int | None = None
    channels: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    values: Mapping[int, str] = field(default_factory=dict)
    task: str = ""


def own_form(sources: Sequence[Path], said: OwnData, workspace: Workspace) -> Form:
    """The form of sources, all alike, by their `dataset.json` and the user's words.

    Raises:
        OptionError: neither says which channels and labels there are, or the sources differ.
        UnknownModelError: there is no such task.
    """
    if said.channels or said.labels:
        form = _by_patterns(said)
    elif found := _descriptions(sources):
        if said.values:
            raise OptionError(
                f"{found[0].file} names the labels already: correct them there, without --label."
            )
        form = _same(sources, [_described(each) for each in found])
        form = form if not said.task else _with_task(form, said.task)
    else:
        form = _by_patterns(said)
    name = said.name or (
        form.dataset.name or re.sub(r"[^A-Za-z0-9]", "", without_archive_suffix(sources[0].name)) or "Own"
    )
    if not _NAME.fullmatch(name):
        raise OptionError(f'"{name}" is no name for a data set: use letters, digits, "-" and "_".')
    number = said.number if said.number is not None else _number(workspace, name)
    if not 1 <= number <= 999:
        raise OptionError(f"The number of a data set is 1 to 999, not {number}.")
    dataset = replace(form.dataset, identifier=number, name=name, file_ending=FILE_ENDING)
    return replace(form, dataset=dataset)


def raw_form(dataset: Dataset) -> Form:
    """The form of a data set in nnU-Net's raw layout."""
    count = len(dataset.channels)
    images = tuple((rf"imagesTr/(?P<case>[^/]+)_{number:04d}",) for number in range(count))
    layout = Layout(
        images,
        (r"labelsTr/(?P<case>[^/]+)",),
        surplus=((r"imagesTr/(?P<case>[^/]+)_\d{4}",), "is of a channel that the data set does not have."),
        left_out=_TESTS,
        hint="imagesTr/case_0000.nii.gz (a number for each channel) and labelsTr/case.nii.gz",
    )
    channels = channels_named(dataset.channels)
    if dataset.task and len(channels_of(find_task(dataset.task))) == count:
        channels = channels_of(find_task(dataset.task))
    return Form(dataset, layout, channels, unchanged(dataset))


def _descriptions(sources: Sequence[Path]) -> list[SourceDescription]:
    """The descriptions of all sources by nnU-Net or the Decathlon, or none."""
    found = [description_of(source) for source in sources]
    known = [each for each in found if each is not None and _is_known(each)]
    if known and len(known) < len(sources):
        raise OptionError("Some sources have a dataset.json, others have none: convert them one by one.")
    return known


def _is_known(found: SourceDescription) -> bool:
    said = found.said
    return isinstance(said, dict) and ("channel_names" in said or isinstance(said.get("modality"), dict))


def _described(found: SourceDescription) -> Form:
    """The form by a source's own `dataset.json`, of nnU-Net or of the Medical Segmentation Decathlon."""
    file, said = found.file, found.said
    match = FOLDER_FORM.fullmatch(found.folder_name)
    number, name = (int(match[1]), match[2]) if match else (0, "")
    if "channel_names" in said:
        return raw_form(read_description(file, number, name, said))
    dataset = read_description(file, number, str(said.get("name", "")), _of_decathlon(file, said))
    if found.is_numbered:  # nnU-Net v1's raw data
        return raw_form(dataset)
    if len(dataset.channels) > 1:
        raise OptionError(
            f"{file.parent} keeps the {len(dataset.channels)} channels of a case in one file: nnU-Net's "
            "command nnUNetv2_convert_MSD_dataset writes each into a file of its own; give its result with "
            "--dataset to the other commands."
        )
    layout = Layout(
        ((r"imagesTr/(?P<case>[^/]+)",),),
        (r"labelsTr/(?P<case>[^/]+)",),
        left_out=_TESTS,
        hint="imagesTr/case.nii.gz and labelsTr/case.nii.gz",
    )
    return Form(dataset, layout, channels_named(dataset.channels), unchanged(dataset))


def _of_decathlon(file: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """The Decathlon's description as nnU-Net v2 writes it."""
    labels = said.get("labels")
    if not isinstance(labels, dict) or not all(str(value).isdecimal() for value in labels):
        raise OptionError(f'{file}: "labels" must give a name for each value, such as {{"1": "liver"}}.')
    return {
        "channel_names": said["modality"],
        "labels": {str(name): int(value) for value, name in labels.items()},
        "file_ending": ".nii.gz",
        "licence": said.get("licence", ""),
        "reference": said.get("reference", ""),
    }


def _same(sources: Sequence[Path], forms: Sequence[Form]) -> Form:
    """The first of several forms, if all have its channels and labels."""
    first = forms[0]
    for source, form in zip(sources, forms, strict=True):
        for what in ("channels", "labels", "ignored", "regions_class_order"):
            mine, other = (getattr(each.dataset, what) for each in (first, form))
            if mine != other:
                raise OptionError(
                    f"{source} has other {what.replace('_', ' ')} than {sources[0]}: {other} and {mine}. "
                    "Only data sets that say the same can become one."
                )
    if len({form.layout for form in forms}) > 1:
        raise OptionError("The sources are described in different ways: convert them one by one.")
    return first


def _with_task(form: Form, task_name: str) -> Form:
    """The form with the names of a task, whose channels and label values it must have."""
    task = find_task(task_name)
    dataset = dataset_of(form.dataset.identifier, form.dataset.name, task)
    dataset = replace(dataset, ignored=form.dataset.ignored)
    if form.dataset.values != dataset.values or len(form.dataset.channels) != len(dataset.channels):
        raise OptionError(
            f"The data set has the label values {list(form.dataset.values)} and {len(form.dataset.channels)} "
            f"channels; the task {task.name} has {list(dataset.values)} and {len(dataset.channels)}."
        )
    for each in misnamed(form.dataset.names, dataset.names):
        sentence = (
            f'The data set calls its label {each.value} "{each.told}", the task {task.name} "{each.wanted}"'
        )
        if each.exchanged:
            raise OptionError(f"{sentence}: bring its labels into the task's order, or leave out --task.")
        logger.warning("%s: check that these are the same.", sentence)
    misplaced = misplaced_channel(form.dataset.channels, channels_of(task))
    if misplaced:
        raise OptionError(
            f"The channel {misplaced[0]} of the data set is not the {misplaced[1]} that the task {task.name} "
            f"has there, whose order is {', '.join(dataset.channels)}: bring the images into it, or leave "
            "out --task."
        )
    return replace(form, dataset=dataset, channels=channels_of(task))


def _by_patterns(said: OwnData) -> Form:
    dataset, names, ways = _dataset(said)
    patterns = [said.channels.get(name, "") for name in names]
    if len(names) > 1 and not all(patterns):
        raise OptionError(
            "Say where the images of each channel lie, such as --channel T1={case}/t1.nii.gz --channel "
            "FLAIR={case}/flair.nii.gz --labels {case}/tumor.nii.gz."
        )
    layout = Layout(
        tuple((_regular(each) if each else _IMAGES,) for each in patterns),
        (_regular(said.labels) if said.labels else _LABELS,),
        hint=_hint(patterns, said.labels),
    )
    channels = channels_of(find_task(said.task)) if said.task else channels_named(names)
    return Form(dataset, layout, channels, ways)


def _dataset(said: OwnData) -> tuple[Dataset, tuple[str, ...], tuple[Mapping[int, int], ...]]:
    """The data set without number and name, the names of its channels, and how its labels are written."""
    if said.task:
        if said.values:
            raise OptionError(f"The task {said.task} names the labels already: leave out --label, or --task.")
        dataset = dataset_of(0, "", find_task(said.task))
        given = {name for name in said.channels if name} - set(dataset.channels)
        if given:
            raise OptionError(
                f"The task {said.task} has the channels {', '.join(dataset.channels)}, not {min(given)}."
            )
        return dataset, dataset.channels, unchanged(dataset)
    if not said.channels or not said.values:
        raise OptionError(
            "Say what the images and the label values are: for example --channel CT --label 1=liver --label "
            "2=tumor, or --task with the name of one that the catalog has."
        )
    # nnU-Net trains 1, 2, 3 ... without gaps; other values become these, in their order.
    way = {value: number for number, value in enumerate(sorted(said.values), start=1)}
    labels = {said.values[value]: trained for value, trained in way.items()}
    if len(labels) < len(way) or min(said.values) < 1:
        raise OptionError("Each label needs a name of its own, and a value above 0, which is background.")
    dataset = Dataset(0, "", tuple(said.channels), labels)
    return dataset, dataset.channels, (way,)


def _regular(pattern: str) -> str:
    """The regular expression of a user's pattern, such as "{case}/ct*.nii.gz"."""
    if pattern.count("{case}") < 1:
        raise OptionError(
            f'The pattern "{pattern}" has no {{case}}, by which images and labels find each other.'
        )
    before, *others = pattern.replace("\\", "/").removeprefix("./").split("{case}")
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in (before, *others)]
    return parts[0] + r"(?P<case>[^/]+?)" + "(?P=case)".join(parts[1:])


def _hint(patterns: Sequence[str], labels: str) -> str:
    images = " and ".join(each or "images/{case}.nii.gz" for each in patterns)
    return f"{images}, with {labels or 'labels/{case}.nii.gz'}"


def _number(workspace: Workspace, name: str) -> int:
    """The number of the data set of this name, or the next free one."""
    places = (workspace.raw, workspace.preprocessed, workspace.results)
    there = {folder.name for place in places for folder in datasets_in(place)}
    for folder_name in sorted(there):
        if folder_name[11:] == name and int(folder_name[7:10]) >= FIRST_NUMBER:
            return int(folder_name[7:10])
    return max([FIRST_NUMBER - 1, *(int(each[7:10]) for each in there)]) + 1
