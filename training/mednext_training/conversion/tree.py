"""Which files below a folder belong together as a case: by their paths, as a layout describes them."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mednext.images.description.patient_names import patient_in
from mednext.images.dicom.header import read_header
from mednext.images.formats.readable import format_named, without_suffix

_DICOM_SUFFIXES = ("", ".dcm", ".dicom", ".ima")
_UID = re.compile(r"[\d.]+")
_TRIED = 10  # a "LICENSE" or "README" may stand before the slices


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files; all are patterns of the ends of paths, with or without suffix.

    Attributes:
        images: for each channel the patterns of its images, with the group "case".
        labels: the patterns of the labels, with the group "case".
        surplus: patterns of images that there should not be, with the group "case", and why not.
        left_out: patterns of files that are not for training, and the reason of each.
        name: the name of a case, made of the group.
        hint: where the files lie usually, for messages.
    """

    images: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    surplus: tuple[tuple[str, ...], str] = ((), "")
    left_out: tuple[tuple[str, str], ...] = ()
    name: str = "{case}"
    hint: str = ""


@dataclass(frozen=True)
class FoundCase:
    """The files of one case, and the problems that their names show.

    `patients` has the names of its patient, by the source and by names of files and folders.
    """

    name: str
    images: tuple[Path | None, ...]
    label: Path | None
    problems: tuple[str, ...] = ()
    patients: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether all its files are there."""
        return None not in (*self.images, self.label)


@dataclass
class Found:
    """The cases of a folder by name, path and reason of each file that was left out, and the images that no
    pattern knows."""

    cases: list[FoundCase] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)


def find_cases(folders: Iterable[Path], layout: Layout, same_patient: Iterable[Sequence[str]] = ()) -> Found:
    """Group the images and labels below folders into cases, each by its own name.

    A file that is missing or there twice is a problem of its case.

    Args:
        same_patient: the cases of each patient with several, as far as the source lists them.
    """
    folders = list(folders)
    patients = {name: {f"that of {names[0]} in {folders[0]}"} for names in same_patient for name in names}
    found = Found()
    roles = [*layout.images, layout.labels, layout.surplus[0]]
    files: dict[str, list[list[Path]]] = {}
    for folder in folders:
        for stem, path in images_below(folder):
            reason = next((why for pattern, why in layout.left_out if _matches(pattern, stem)), None)
            if reason is not None:
                found.left_out.append((str(path.relative_to(folder)), reason))
                continue
            role, case = _role((stem, path.relative_to(folder).as_posix()), roles)
            if case is None:
                found.unknown.append(path)
                continue
            name = unicodedata.normalize("NFC", layout.name.format(case=case))  # as no Mac writes it
            files.setdefault(name, [[] for _ in roles])[role].append(path)
            # Above the source a name such as "patient 1" tells nothing: it would be that of all cases.
            patients.setdefault(name, set()).add(patient_in(path.relative_to(folder).as_posix()))
    why = layout.surplus[1]
    found.cases = [_case(name, files[name], why, patients[name] - {""}) for name in sorted(files)]
    return found


def images_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each image below a folder: its path from there without suffix, with "/", and its path.

    An image is a file with a known suffix, or a folder with DICOM files.
    """
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "__MACOSX")
        if here.resolve() in seen:
            folders.clear()
            continue
        seen.add(here.resolve())
        visible = sorted(name for name in names if not name.startswith("."))
        images = [name for name in visible if format_named(name)]
        for name in images:
            yield (here / without_suffix(name)).relative_to(folder).as_posix(), here / name
        if not images and here != folder and _holds_dicom(here, visible):
            yield here.relative_to(folder).as_posix(), here


def _holds_dicom(folder: Path, names: Sequence[str]) -> bool:
    perhaps = (name for name in names if Path(name).suffix.lower() in _DICOM_SUFFIXES or _UID.fullmatch(name))
    return any(read_header(folder / name) is not None for name in itertools.islice(perhaps, _TRIED))


def _role(names: Sequence[str], roles: Sequence[Sequence[str]]) -> tuple[int, str | None]:
    """The role of a file and its case, by the pattern that explains most of one of its names.

    With images "{case}" and labels "{case}_seg", "a_seg" has the labels of "a", and is not the image "a_seg".
    """
    found = (
        (number, match["case"])
        for number, patterns in enumerate(roles)
        for name, pattern in itertools.product(names, patterns)
        if (match := _matches(pattern, name))
    )
    return min(found, key=lambda role: len(role[1]), default=(-1, None))


def _matches(pattern: str, stem: str) -> re.Match[str] | None:
    return re.fullmatch(rf"(?:.*/)?{pattern}", stem, re.IGNORECASE)


def _case(name: str, files: Sequence[Sequence[Path]], why_surplus: str, patients: Iterable[str]) -> FoundCase:
    *needed, surplus = files
    problems = [f"{path} {why_surplus}" for path in surplus[:1]]
    for number, paths in enumerate(needed):
        part = f"image of channel {number + 1}" if len(needed) > 2 else "image"
        part = "labels" if number == len(needed) - 1 else part
        if not paths:
            problems.append(f"It has no {part}.")
        if len(paths) > 1:
            places = " and ".join(str(path) for path in paths[:2])
            problems.append(f"There are {len(paths)} files of its {part}, as {places}: keep one.")
    *images, label = (paths[0] if paths else None for paths in needed)
    return FoundCase(name, tuple(images), label, tuple(problems), frozenset(patients))
