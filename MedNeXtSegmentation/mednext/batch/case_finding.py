"""Find the cases in a folder: image files, channels that belong together, DICOM series, scenes.

    CASE.nii.gz                         a model with one channel: every file is a case
    CASE_0000.nii.gz CASE_0001.nii.gz   several channels, numbered in the model's order as for nnU-Net
    CASE_T1.nii.gz CASE_FLAIR.nii.gz    several channels, by their names
    CASE/T1.nii.gz CASE/FLAIR.nii.gz    the same, a folder for each case
    STUDY/**                            DICOM files, sorted by study and series; see `dicom_cases.py`
    SCENE.mrb SCENE.mrml                scenes of Slicer, which only Slicer can read

Nothing is skipped silently: an image that cannot be a case is reported as left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ChannelError, InputError, OptionError, UnreadableImageError
from ..images.formats.readable import image_suffixes, without_suffix
from ..inputs.channel_names import group_by_channels, why_another
from ..model.description import Model
from ..system.file_names import safe_path, told_apart
from .case import Case, folder_name, relative
from .mask_names import masks_among

SCENE_SUFFIXES = (".mrb", ".mrml")
RESULT_SUFFIX = ".seg.nrrd"
UNCERTAINTY_SUFFIX = ".uncertainty.nii.gz"

_NUMBERED = re.compile(r"(.+)_(\d{4})")  # nnU-Net's names
_MOST_CHANNELS = 8  # more numbers than these are numbers of cases


@dataclass(frozen=True)
class Found:
    """The cases and Slicer's scenes in a folder."""

    cases: tuple[Case, ...]
    scenes: tuple[Path, ...] = ()


def find_cases(place: Path, model: Model, output: Path | None = None) -> Found:
    """All cases in a folder and the folders below it, or the case of a single file, in the order of names.

    Ignores hidden files and folders, segmentations (`.seg.nrrd`) with their uncertainty, and the folder
    `output`.

    Raises:
        OptionError: there is no such file or folder.
    """
    from .dicom_cases import dicom_cases, has_dicom  # importing SimpleITK is slow

    if not place.exists():
        raise OptionError(f"{place} does not exist: give the folder with the images.")
    root = place if place.is_dir() else place.parent
    cases: list[Case] = []
    scenes: list[Path] = []
    dicom: list[Path] = []
    folders = list(_folders(place, output, cases))
    masks = masks_among(
        (folder / name for folder, files in folders for name in files if _is_image(name)), root
    )
    for folder, files in folders:
        scenes += (folder / name for name in files if name.lower().endswith(SCENE_SUFFIXES))
        images = [name for name in files if _is_image(name) and folder / name not in masks]
        cases += _image_cases(root, folder, images, model)
        cases += _mask_cases(root, folder, [name for name in files if folder / name in masks], not images)
        others = [folder / name for name in files if not _is_image(name)]
        if has_dicom(others):
            dicom.append(folder)
    cases += dicom_cases(root, dicom, model)
    return Found(tuple(_named_apart(cases)), tuple(scenes))


def _folders(place: Path, output: Path | None, cases: list[Case]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with the names of its files; an unreadable folder becomes a case with a problem."""
    if place.is_file():
        yield place.parent, [place.name]
        return

    def refused(error: OSError) -> None:
        folder = Path(error.filename or place)
        sentence = f"{folder} cannot be read ({error.strerror}): check its permissions."
        cases.append(_refused(folder_name(folder, place), [folder], place, UnreadableImageError(sentence)))

    hidden = output.resolve() if output else None
    met: set[Path] = set()
    for path, names, files in os.walk(place, onerror=refused, followlinks=True):
        folder = Path(path)
        names[:] = sorted(
            name
            for name in names
            if not name.startswith((".", "__MACOSX"))
            and (folder / name).resolve() != hidden
            and _leads_on(folder / name, place.resolve(), met)
        )
        yield folder, sorted(name for name in _without_uncertainty(files) if not name.startswith("."))


def _leads_on(folder: Path, root: Path, met: set[Path]) -> bool:
    """Whether to search a folder: not one that was searched already, nor a link that leads back."""
    target = folder.resolve()
    if folder.is_symlink() and (target.is_relative_to(root) or root.is_relative_to(target)):
        return False
    new = target not in met
    met.add(target)
    return new


def _without_uncertainty(names: Sequence[str]) -> Iterator[str]:
    """The files that are not the uncertainty of a result beside them."""
    results = {name.removesuffix(RESULT_SUFFIX) for name in names if name.endswith(RESULT_SUFFIX)}
    return (name for name in names if name.removesuffix(UNCERTAINTY_SUFFIX) not in results)


def _is_image(name: str) -> bool:
    return name.lower().endswith(image_suffixes()) and not name.lower().endswith(RESULT_SUFFIX)


def _image_cases(root: Path, folder: Path, names: Sequence[str], model: Model) -> Iterator[Case]:
    """The cases of the image files in one folder."""
    numbered: dict[str, dict[int, str]] = {}
    others: list[str] = []
    for name in names:
        match = _NUMBERED.fullmatch(without_suffix(name))
        if match:
            numbered.setdefault(match[1], {})[int(match[2])] = name
        else:
            others.append(name)
    for stem, channels in numbered.items():
        if _could_be_channels(channels, model):
            yield _numbered_case(root, folder, stem, channels, model)
        else:
            others += channels.values()
    if len(model.channels) == 1:
        yield from (_single_case(root, folder / name, model) for name in sorted(others))
    else:
        yield from _named_cases(root, folder, sorted(others), model)


def _mask_cases(root: Path, folder: Path, names: Sequence[str], alone: bool) -> Iterator[Case]:
    """The masks in one folder, reported as left out; a folder of masks alone is reported as one case."""
    if alone and len(names) > 1:
        case = _case(folder_name(folder, root), [folder], root)
        yield replace(case, left_out=f"The folder or its {len(names)} images are named as masks.")
        return
    for name in names:
        case = _case(_name(root, folder, without_suffix(name)), [folder / name], root)
        yield replace(case, left_out="It is named as a mask, or lies in a folder that is.")


def _could_be_channels(channels: dict[int, str], model: Model) -> bool:
    if len(model.channels) == 1:
        return sorted(channels) == list(range(len(channels))) and len(channels) <= _MOST_CHANNELS
    return min(channels) == 0 or max(channels) < len(model.channels)


def _numbered_case(root: Path, folder: Path, stem: str, channels: dict[int, str], model: Model) -> Case:
    """A case in nnU-Net's naming: files with the numbers of the model's channels."""
    name = _name(root, folder, stem)
    files = [folder / channels[number] for number in sorted(channels)]
    if sorted(channels) == list(range(len(model.channels))):
        return _case(name, files, root)
    needed = ", ".join(f"_{n:04} ({channel.name})" for n, channel in enumerate(model.channels))
    return _refused(
        name,
        files,
        root,
        ChannelError(
            f"{', '.join(file.name for file in files)} look like the channels of one patient, but the model "
            f"needs {needed}: add or remove channels, or name the files otherwise."
        ),
    )


def _single_case(root: Path, file: Path, model: Model) -> Case:
    name = _name(root, file.parent, without_suffix(file.name))
    left_out = why_another(without_suffix(file.name), model.channels[0].name)
    return replace(_case(name, [file], root), left_out=left_out)


def _named_cases(root: Path, folder: Path, names: Sequence[str], model: Model) -> Iterator[Case]:
    """The cases of a model of several channels, which the file names tell apart."""
    channels = [channel.name for channel in model.channels]
    groups, unclaimed = group_by_channels([without_suffix(name) for name in names], channels)
    for index in unclaimed:
        file = folder / names[index]
        left_out = f"None of the model's channels ({', '.join(channels)}) is in its name."
        name = _name(root, folder, without_suffix(file.name))
        yield replace(_case(name, [file], root), left_out=left_out)
    for group in groups:
        name = _name(root, folder, group.name) if group.name else folder_name(folder, root)
        if group.problem:
            sentence = f"{group.problem} The model needs {', '.join(channels)}, each once."
            yield _refused(name, [folder], root, ChannelError(sentence))
        else:
            yield _case(name, [folder / names[index] for index in group.members], root)


def _name(root: Path, folder: Path, last: str) -> str:
    """The name of a case in a folder below `root`."""
    return safe_path((*folder.relative_to(root).parts, last))


def _case(name: str, files: Iterable[Path], root: Path) -> Case:
    files = tuple(files)
    sources = [relative(file, root) for file in files]
    long_name = safe_path(sources[0].split("/"))
    return Case(name, tuple(str(file) for file in files), files, "; ".join(sources), long_name=long_name)


def _refused(name: str, files: Iterable[Path], root: Path, problem: InputError) -> Case:
    return replace(_case(name, files, root), problem=problem)


def _named_apart(cases: Sequence[Case]) -> list[Case]:
    ordered = sorted(cases, key=lambda case: (case.name.casefold(), case.source))
    names = told_apart([case.name for case in ordered], [case.long_name or case.name for case in ordered])
    return [replace(case, name=name) for case, name in zip(ordered, names, strict=True)]
