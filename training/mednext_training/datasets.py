"""A data set in nnU-Net's raw layout: its name, and the facts of its `dataset.json`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mednext.errors import OptionError
from mednext.images.description.image_description import ImageDescription
from mednext.inputs.channel_matching import fits
from mednext.model.description import Channel
from mednext.system.atomic import replacing
from mednext.system.json_reading import is_unicode, json_text, read_json
from mednext.training_set.dataset import DATASET_FILE

from .workspace import Workspace

FILE_ENDING = ".nii.gz"
# Fields of dataset.json beyond nnU-Net's own, and the attributes that keep them.
_OURS = {"task": "task", "licence": "licence", "reference": "reference", "content_sha256": "content"}
_SAME_PATIENT = "same_patient"
IGNORE = "ignore"  # nnU-Net's name of voxels that nobody annotated
FOLDER_FORM = re.compile(r"Dataset(\d{3})_(.+)")


@dataclass(frozen=True)
class Dataset:
    """A data set: its name in nnU-Net, and the contents of its files.

    Attributes:
        identifier: nnU-Net's number.
        name: nnU-Net's name, without the number.
        channels: channel names in order; nnU-Net takes the normalisation from them ("CT" or anything else).
        labels: the value of each label but the background, or the values that make up a region.
        regions_class_order: the values that painted regions get, in order; empty without regions.
        ignored: value of the voxels that nobody annotated, which neither train nor count; None for none.
        file_ending: of images and labels.
        task: task of the catalog whose labels these are; "" for none.
        licence, reference: of the data; "" where they are not known.
        same_patient: names of cases that are of one patient, for each patient with several.
        content: digest of everything in it when it was converted; "" where it was not.
    """

    identifier: int
    name: str
    channels: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]] = field(hash=False)
    regions_class_order: tuple[int, ...] = ()
    ignored: int | None = None
    file_ending: str = FILE_ENDING
    task: str = ""
    licence: str = ""
    reference: str = ""
    content: str = ""
    same_patient: tuple[tuple[str, ...], ...] = ()

    @property
    def folder_name(self) -> str:
        return f"Dataset{self.identifier:03d}_{self.name}"

    @property
    def values(self) -> tuple[int, ...]:
        """All label values but the background's and the ignored one, ascending."""
        values = (each if isinstance(each, tuple) else (each,) for each in self.labels.values())
        return tuple(sorted({value for each in values for value in each}))

    @property
    def names(self) -> dict[int, str]:
        """A name for each value, the ignored one as well; of regions the first one that has it."""
        names = {} if self.ignored is None else {self.ignored: IGNORE}
        for name, value in self.labels.items():
            for each in value if isinstance(value, tuple) else (value,):
                names.setdefault(each, name)
        return names

    @property
    def regions(self) -> Mapping[str, tuple[int, ...]]:
        """The regions, where these are trained instead of labels."""
        if not self.regions_class_order:
            return {}
        return {name: each if isinstance(each, tuple) else (each,) for name, each in self.labels.items()}


@dataclass(frozen=True)
class Misnamed:
    """A label value with two names; `exchanged` where the told one is wanted for another value."""

    value: int
    told: str
    wanted: str
    exchanged: bool


def misnamed(told: Mapping[int, str], wanted: Mapping[int, str]) -> list[Misnamed]:
    """The label values that both name, but differently; small and capital letters are the same."""
    every = {name.casefold() for name in wanted.values()}
    return [
        Misnamed(value, told[value], wanted[value], told[value].casefold() in every)
        for value in sorted({*told} & {*wanted})
        if told[value].casefold() != wanted[value].casefold()
    ]


def misplaced_channel(names: Sequence[str], channels: Sequence[Channel]) -> tuple[str, str] | None:
    """The first name that cannot be that of the channel in its place, and this channel's; None for none."""
    for name, channel in zip(names, channels, strict=True):
        exchanged = name.casefold() != channel.name.casefold() and any(
            name.casefold() == other.name.casefold() for other in channels
        )
        if exchanged or not fits(channel, ImageDescription(name)):
            return name, channel.name
    return None


def describe(dataset: Dataset, cases: int) -> dict[str, Any]:
    """The content of nnU-Net's `dataset.json` for so many cases."""
    labels = {name: list(each) if isinstance(each, tuple) else each for name, each in dataset.labels.items()}
    if dataset.ignored is not None:
        labels[IGNORE] = dataset.ignored
    description: dict[str, Any] = {
        "channel_names": {str(index): name for index, name in enumerate(dataset.channels)},
        "labels": {"background": 0, **labels},
        "numTraining": cases,
        "file_ending": dataset.file_ending,
    }
    if dataset.regions_class_order:
        description["regions_class_order"] = list(dataset.regions_class_order)
    if dataset.same_patient:
        description[_SAME_PATIENT] = [list(names) for names in dataset.same_patient]
    known = {key: getattr(dataset, name) for key, name in _OURS.items()}
    return description | {key: text for key, text in known.items() if text}


def write_dataset_json(folder: Path, dataset: Dataset, cases: int) -> None:
    """Write nnU-Net's description of a raw data set."""
    with replacing(folder / DATASET_FILE) as temporary:
        temporary.write_text(json_text(describe(dataset, cases)) + "\n", encoding="utf-8")


def read_dataset(folder: Path) -> Dataset:
    """The data set in a folder such as "Dataset501_Liver", by its name and its `dataset.json`.

    Raises:
        OptionError: the folder has another name, or its description is missing, damaged, or not nnU-Net's.
    """
    match = FOLDER_FORM.fullmatch(folder.name)
    if match is None:
        raise OptionError(
            f'{folder} is not named as nnU-Net wants it: rename it, such as "Dataset501_Liver".'
        )
    file = folder / DATASET_FILE
    if not file.is_file():
        raise OptionError(f"{file} does not exist: convert the data set first, with 'mednext-train convert'.")
    return read_description(file, int(match[1]), match[2])


def read_description(file: Path, identifier: int, name: str, said: Any = None) -> Dataset:
    """The data set that a `dataset.json` describes; `said` is its content, where a caller translated it.

    Raises:
        OptionError: it is damaged, or not nnU-Net's.
    """
    said = read_json(file, OptionError) if said is None else said
    channels = said.get("channel_names") if isinstance(said, dict) else None
    labels = said.get("labels") if isinstance(said, dict) else None
    if not isinstance(channels, dict) or not _from_0(channels) or not isinstance(labels, dict):
        raise OptionError(
            f'{file} is no description by nnU-Net v2: it needs "channel_names", numbered from 0, and '
            "\"labels\". Bring the data into this layout with 'mednext-train convert own'."
        )
    same_patient = _groups(file, said.get(_SAME_PATIENT, []))
    texts = [name, *channels.values(), *labels, *map(said.get, _OURS), *itertools.chain(*same_patient)]
    if not all(is_unicode(str(text)) for text in texts):
        raise OptionError(f"{file} has half a character in a name, which no file can hold: correct it.")
    order = said.get("regions_class_order", [])
    ending = said.get("file_ending")
    if not _are_integers(order) or not isinstance(ending, str):
        raise OptionError(
            f'{file}: "regions_class_order" must be a list of label values, "file_ending" a text such as '
            f'"{FILE_ENDING}".'
        )
    values = {str(label): _value(file, label, each) for label, each in labels.items() if each not in (0, [0])}
    ignored = values.pop(IGNORE, None)
    if isinstance(ignored, tuple):
        raise OptionError(f'{file}: the label "{IGNORE}" has {list(ignored)}, not one value.')
    return Dataset(
        identifier,
        name,
        tuple(str(channels[str(n)]) for n in range(len(channels))),
        values,
        tuple(order),
        ignored,
        ending,
        same_patient=same_patient,
        **{name: str(said.get(key, "")) for key, name in _OURS.items()},
    )


def told_patients(folder: Path) -> tuple[tuple[str, ...], ...]:
    """The cases of one patient, for each patient with several, as each `dataset.json` tells them: a folder's
    own, and those of the folders in it."""
    groups: list[tuple[str, ...]] = []
    for file in (folder / DATASET_FILE, *sorted(folder.glob(f"*/{DATASET_FILE}"))):
        said = read_json(file, OptionError) if file.is_file() else None
        groups.extend(_groups(file, said.get(_SAME_PATIENT, [])) if isinstance(said, dict) else ())
    return tuple(groups)


def find_dataset(workspace: Workspace, wanted: str | None = None) -> tuple[Workspace, Dataset]:
    """The data set of a number, a name, a folder's name, or a path; and the workspace with its raw data.

    Args:
        workspace: where the data set lies; for a path, its own folder takes the place of the raw data.
        wanted: None stands for the only data set that is there.

    Raises:
        OptionError: there is no such data set, more than one, or it cannot be read.
    """
    folder = Path(wanted).expanduser() if wanted else None
    is_named = folder and (folder / DATASET_FILE).is_file() and FOLDER_FORM.fullmatch(folder.resolve().name)
    if folder and (is_named or len(folder.parts) > 1):  # a name has no folders in it
        folder = folder.resolve()
        dataset = read_dataset(folder)
        workspace = replace(workspace, raw_data=folder.parent)
    else:
        dataset = read_dataset(_chosen(workspace, wanted))
    check_number(workspace, dataset)
    return workspace, dataset


def datasets_in(raw: Path) -> list[Path]:
    """The folders of all data sets below a raw folder, by number and name."""
    if not raw.is_dir():
        return []
    return sorted(each for each in raw.iterdir() if each.is_dir() and FOLDER_FORM.fullmatch(each.name))


def _chosen(workspace: Workspace, wanted: str | None) -> Path:
    there = datasets_in(workspace.raw)
    if not there:
        raise OptionError(
            f"There is no data set in {workspace.raw}: convert the data set first, with "
            "'mednext-train convert'."
        )
    listed = ", ".join(each.name for each in there)
    fitting = there if wanted is None else [each for each in there if _is_called(each.name, wanted)]
    if not fitting:
        raise OptionError(f'There is no data set "{wanted}" in {workspace.raw}, but there are: {listed}.')
    if len(fitting) > 1:
        listed = ", ".join(each.name for each in fitting)
        raise OptionError(f"{workspace.raw} has several data sets: choose one with --dataset, of {listed}.")
    return fitting[0]


def _is_called(folder_name: str, wanted: str) -> bool:
    number, _, name = folder_name.removeprefix("Dataset").partition("_")
    if wanted.isdecimal():
        return int(number) == int(wanted)
    return wanted.casefold() in (folder_name.casefold(), name.casefold())


def check_number(workspace: Workspace, dataset: Dataset) -> None:
    """Refuse a second data set of a number: nnU-Net finds folders by it alone. Raises `OptionError`."""
    for place in (workspace.raw, workspace.preprocessed, workspace.results):
        for other in datasets_in(place):
            if int(other.name[7:10]) == dataset.identifier and other.name != dataset.folder_name:
                raise OptionError(
                    f"{dataset.folder_name} has the number of {other}: rename one of them, or give another "
                    "--number or --workspace."
                )


def _from_0(channels: Mapping[str, Any]) -> bool:
    return set(channels) == {str(n) for n in range(len(channels))} != set()


def _are_integers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)


def _groups(file: Path, said: Any) -> tuple[tuple[str, ...], ...]:
    sound = isinstance(said, list) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in said
    )
    if not sound:
        raise OptionError(
            f'{file}: "{_SAME_PATIENT}" must be a list with a list of names of cases for each patient.'
        )
    return tuple(tuple(names) for names in said)


def _value(file: Path, name: str, said: Any) -> int | tuple[int, ...]:
    if type(said) is int and said > 0:
        return said
    if isinstance(said, list) and said and _are_integers(said) and min(said) > 0:
        return tuple(said)
    raise OptionError(f'{file}: the label "{name}" is {said!r}, no value above 0 and no list of such values.')
