"""The `dataset.json` of a source: in its folder, in the folder below it, or in its archive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mednext.errors import OptionError
from mednext.system.json_reading import parse_json, read_json
from mednext.training_set.dataset import DATASET_FILE, IMAGES

from .archives import archives_in, is_archive, read_members, without_archive_suffix

_NUMBERED = re.compile(rf"(?:.*/)?{IMAGES}/[^/]*_0000\.[^/]*")  # as no case of the Decathlon ends

_PAIRS = re.compile(r"images?(?:Tr)?|imgs?", re.IGNORECASE)


@dataclass(frozen=True)
class SourceDescription:
    """A description that came with the data.

    Attributes:
        file: its place, for messages.
        folder_name: name of the folder that it describes.
        said: its content.
        is_numbered: the files of images end in the numbers of their channels, as nnU-Net has them.
    """

    file: Path
    folder_name: str
    said: Any
    is_numbered: bool


def description_of(source: Path) -> SourceDescription | None:
    """The description of a folder or an archive, which may hold one folder more; None for none.

    A folder that has images of its own is not described by what lies below it.

    Raises:
        OptionError: it is damaged, or there are several.
        UnreadableImageError: an archive is damaged.
    """
    if (source / DATASET_FILE).is_file():
        return _in_folder(source)
    if source.is_dir():
        if any(_PAIRS.fullmatch(each.name) for each in source.iterdir()):
            return None  # its own pairs are meant
        below = sorted(path.parent for path in source.glob(f"*/{DATASET_FILE}") if path.is_file())
        found = [_in_folder(folder) for folder in below]
        found = found or [each for archive in archives_in(source) for each in _in_archive(archive)]
    else:
        found = _in_archive(source) if is_archive(source) else []
    if len(found) > 1:
        raise OptionError(
            f"{source} holds {len(found)} data sets, {found[0].file} and {found[1].file} among them: give "
            "the one that is wanted, or each as a source of its own."
        )
    return found[0] if found else None


def _in_folder(folder: Path) -> SourceDescription:
    file = folder / DATASET_FILE
    is_numbered = any((folder / IMAGES).glob("*_0000.*"))
    return SourceDescription(file, folder.resolve().name, read_json(file, OptionError), is_numbered)


def _in_archive(archive: Path) -> list[SourceDescription]:
    names, texts = read_members(archive, _is_description)
    is_numbered = any(map(_NUMBERED.fullmatch, names))
    found = []
    for name, text in texts.items():
        folder_name = PurePosixPath(name).parent.name or without_archive_suffix(archive.name)
        try:
            said = parse_json(text)
        except (ValueError, RecursionError) as error:  # of UnicodeDecodeError, too
            raise OptionError(f"{archive / name} is not valid JSON: {error}. Repair it.") from error
        found.append(SourceDescription(archive / name, folder_name, said, is_numbered))
    return found


def _is_description(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name == DATASET_FILE and len(path.parts) <= 2
