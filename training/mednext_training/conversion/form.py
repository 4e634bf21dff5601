"""The layout of a source, and the data set that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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

    @property
    def names(self) -> dict[int, str]:
        """A name for each trained value; of regions the first one that has it."""
        names: dict[int, str] = {}
        for name, value in self.dataset.labels.items():
            for each in value if isinstance(value, tuple) else (value,):
                names.setdefault(each, name)
        return names


def unchanged(dataset: Dataset) -> tuple[Mapping[int, int], ...]:
    """The one way of files that have the trained values."""
    return ({value: value for value in dataset.values},)


def channels_of(task: Task) -> tuple[Channel, ...]:
    """The expected values of a task's images."""
    return tuple(
        Channel(each.name, each.modality, "ct" if each.modality == "CT" else "zscore")
        for each in task.channels
    )


def channels_named(names: Sequence[str]) -> tuple[Channel | None, ...]:
    """The expected values of images of which only the channel's name is known."""
    return tuple(Channel("CT", "CT", "ct") if name.casefold() == "ct" else None for name in names)
