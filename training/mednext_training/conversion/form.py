"""The layout of a source, and the data set that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mednext.images.description.image_kind import kind_of_text
from mednext.inputs.channel_matching import modality_of
from mednext.library.catalog import Task
from mednext.model.description import Channel

from ..datasets import Dataset
from .tree import Layout


@dataclass(frozen=True)
class Form:
    """A kind of source.

    Attributes:
        dataset: the data set that is made.
        layout: the source's files.
        channels: the expected values of each image; None where only its voxels can be checked.
        ways: possible meanings of label values: each maps a file's values to the trained ones. All cases of
            an edition have the same.
        refused: returns a sentence for a case that is not of this data set, by its name and label values;
            else "".
        edition: returns the edition of the data set by the name of a case.
    """

    dataset: Dataset
    layout: Layout
    channels: tuple[Channel | None, ...]
    ways: Sequence[Mapping[int, int]] = field(hash=False)
    refused: Callable[[str, set[int]], str] = lambda _name, _values: ""
    edition: Callable[[str], str] = lambda _name: ""


def unchanged(dataset: Dataset) -> tuple[Mapping[int, int], ...]:
    """The one way of files that have the trained values."""
    ignored = () if dataset.ignored is None else (dataset.ignored,)
    return ({value: value for value in (*dataset.values, *ignored)},)


def channels_of(task: Task) -> tuple[Channel, ...]:
    """The expected values of a task's images."""
    return tuple(
        Channel(each.name, each.modality, "ct" if each.modality == "CT" else "zscore")
        for each in task.channels
    )


def channels_named(names: Sequence[str]) -> tuple[Channel | None, ...]:
    """The expected values of images of which only the channel's name is known; None where it says nothing."""
    modalities = ((name, modality_of(kind_of_text(name))) for name in names)
    return tuple(
        Channel(name, modality, "ct" if name.casefold() == "ct" else "zscore") if modality else None
        for name, modality in modalities
    )
