"""A training set in nnU-Net's raw layout: its folder, its `dataset.json`, and free names of cases."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import OptionError, OutputError
from ..images.formats.image_files import WRITABLE
from ..model.description import Channel, Model
from ..system.atomic import replacing
from ..system.json_reading import read_json

DATASET_FILE = "dataset.json"
IMAGES, LABELS, PROVENANCE = "imagesTr", "labelsTr", "provenanceTr"

_FILE_ENDING = ".nii.gz"
_NAME = re.compile(r"Dataset\d{3}_.+")
_FIRST_NUMBER = 501  # lower numbers are those of public data sets
# nnU-Net derives the normalisation from a channel's name; every other name means z-scores.
_NAMES_OF_NORMALIZATIONS = {"ct": "CT", "none": "noNorm", "rescale": "rescale_to_0_1"}


def dataset_folder(folder: Path, model: Model) -> Path:
    """The data set for cases of the model: the folder itself, or an existing or new one in it.

    A folder with a `dataset.json`, or with a name of nnU-Net's form ("Dataset501_liver"), is a data set
    itself. Raises `OutputError` when there is no such folder.
    """
    if not folder.is_dir():
        raise OutputError(f"The folder {folder} does not exist: choose another.")
    if (folder / DATASET_FILE).is_file() or _NAME.fullmatch(folder.name):
        return folder
    name = re.sub(r"[^A-Za-z0-9]", "", model.task.title()) or "MedNeXt"
    others = [each.name for each in folder.iterdir() if _NAME.fullmatch(each.name)]
    for other in sorted(others):
        if other.partition("_")[2] == name:
            return folder / other
    number = max([_FIRST_NUMBER - 1, *(int(other[7:10]) for other in others)]) + 1
    return folder / f"Dataset{number:03d}_{name}"


def describe(model: Model) -> dict[str, Any]:
    """The content of a new `dataset.json`: the model's channels and labels in nnU-Net's form.

    Raises `OptionError` for label values with gaps, which nnU-Net cannot train.
    """
    labels = {label.name: label.value for label in sorted(model.labels, key=lambda label: label.value)}
    trained = model.regions if model.output == "regions" else ()
    regions = {region.name: list(region.labels) for region in trained}
    values = sorted({value for region in regions.values() for value in region} or labels.values())
    if values != list(range(1, len(values) + 1)):
        raise OptionError(
            f'The label values of "{model.name}" are {values}; nnU-Net trains 1, 2, 3 ... without gaps.'
        )
    description: dict[str, Any] = {
        "channel_names": {str(n): _channel_name(channel) for n, channel in enumerate(model.channels)},
        "labels": {"background": 0, **(regions or labels)},
        "numTraining": 0,
        "file_ending": _FILE_ENDING,
    }
    if regions:
        description["regions_class_order"] = list(model.regions_class_order)
    return description


def read_description(folder: Path, model: Model) -> dict[str, Any]:
    """The content of `dataset.json`; in a new folder, of the one to be written.

    Raises `OptionError` when the data set has other channels or labels than the model, or images of a
    format that cannot be written.
    """
    wanted = describe(model)
    file = folder / DATASET_FILE
    if not file.is_file():
        return wanted
    found = read_json(file, OptionError)
    if not isinstance(found, dict):
        raise OptionError(f"{file} is not the description of a data set: choose another folder.")
    for key in ("channel_names", "labels", "regions_class_order"):
        if _comparable(found.get(key)) != _comparable(wanted.get(key)):
            raise OptionError(
                f'{file} is of another task: its "{key}" is {found.get(key)}, and the model "{model.name}" '
                f"has {wanted.get(key)}. Choose another folder."
            )
    if found.get("file_ending") not in WRITABLE:
        raise OptionError(
            f'{file} wants files "{found.get("file_ending")}"; cases are written as {", ".join(WRITABLE)}.'
        )
    return found


def _comparable(value: Any) -> Any:
    """Labels with every region as a sorted list, as nnU-Net also accepts a single number, and any order; and
    without its "ignore", which is no label of a model but voxels that nobody annotated."""
    if not isinstance(value, dict):
        return value
    value = {name: each for name, each in value.items() if name != "ignore"}
    if not any(isinstance(each, list) for each in value.values()):
        return value
    lists = {name: each if isinstance(each, list) else [each] for name, each in value.items()}
    return {name: sorted(each, key=repr) for name, each in lists.items()}


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write `dataset.json` with the number of cases in the folder."""
    ending = description["file_ending"]
    cases = sum(1 for file in (folder / LABELS).iterdir() if _is_case(file, ending))
    with replacing(folder / DATASET_FILE) as temporary:
        text = json.dumps({**description, "numTraining": cases}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def free_case_name(folder: Path, prefix: str) -> str:
    """`prefix` with a number above those of all files of the data set."""
    form = re.compile(rf"{re.escape(prefix)}_(\d{{4,}})(?!\d)")
    taken = [0]
    for part in (IMAGES, LABELS, PROVENANCE):
        names = [file.name for file in (folder / part).iterdir()] if (folder / part).is_dir() else []
        taken += [int(match[1]) for name in names if (match := form.match(name))]
    return f"{prefix}_{max(taken) + 1:04d}"


def _is_case(file: Path, ending: str) -> bool:
    return file.name.endswith(ending) and not file.name.startswith(".")


def _channel_name(channel: Channel) -> str:
    return _NAMES_OF_NORMALIZATIONS.get(channel.normalization, channel.name)
