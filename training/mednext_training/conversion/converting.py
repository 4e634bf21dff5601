"""The conversion itself: find the cases, check each, and write all of them, or nothing."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mednext.errors import InputError, OptionError, UnreadableImageError
from mednext.images.formats.image_files import read_header, read_image, write_image
from mednext.images.geometry import reorient_array
from mednext.images.volume import read_volume
from mednext.system.atomic import UNFINISHED, check_space, remove_if_left, replacing_folder
from mednext.system.file_names import safe_part, told_apart
from mednext.system.json_reading import json_text, read_json
from mednext.system.running_processes import signature
from mednext.system.shown_text import shown_lines
from mednext.training_set.dataset import DATASET_FILE, IMAGES, LABELS
from tqdm import tqdm

from ..dataset_use import in_use
from ..datasets import FILE_ENDING, Dataset, check_number, describe, told_patients, write_dataset_json
from ..workspace import Workspace
from .archives import is_clutter, unpacked
from .case_check import CheckedCase, check_case
from .form import Form
from .itk_view import itk_sees
from .report import Report, check_taught, named_by_archive
from .set_check import (
    check_channels,
    check_copies,
    check_labels_occur,
    check_patients,
    common_orientation,
    map_values,
)
from .tree import Found, find_cases

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """A user's choices about cases.

    Attributes:
        leave_out: names of cases that are not wanted.
        skip_faulty: go on with the sound cases.
        allow_empty: a case without any structure is sound.
    """

    leave_out: tuple[str, ...] = ()
    skip_faulty: bool = False
    allow_empty: bool = False


def convert(form: Form, sources: Sequence[Path], workspace: Workspace, choices: Choices = Choices()) -> Path:
    """Make a data set in nnU-Net's raw layout, in the place of a former one of the same name.

    Every file is read to its end before anything is written; the report goes to the workspace's folder
    `reports` and to the screen. Images are copied byte by byte where nnU-Net can read them as they are.

    Args:
        sources: folders or archives.

    Returns:
        The data set's folder.

    Raises:
        InputError: no cases were found, or cases have problems, which the report names.
        OptionError: there are trained results of other data under the same name, or a data set in its place
            that no conversion made, or to which cases were added; or another command works on it.
        OutputError, DiskSpaceError: the workspace cannot be written. A former data set is as it was then.
    """

    def has_cases(folder: Path) -> bool:
        return bool(find_cases([folder], form.layout).cases)

    target = workspace.raw / form.dataset.folder_name
    check_number(workspace, form.dataset)
    _check_former(target)
    workspace.raw.mkdir(parents=True, exist_ok=True)
    for folder in (workspace.raw, workspace.preprocessed):
        for left in folder.glob(f"{UNFINISHED}*"):
            remove_if_left(left)
    with ExitStack() as stack:
        stack.enter_context(in_use(workspace, form.dataset, "convert"))
        folders = [stack.enter_context(unpacked(each, workspace.raw, has_cases)) for each in sources]
        report = check_cases(form, _found(form, sources, folders), choices)
        report.origins = _archives(folders)
        _tell(report, workspace.reports / f"{form.dataset.folder_name}.csv", choices)
        content = _content(form, report)
        _check_results(workspace, form.dataset, content)
        with replacing_folder(target) as temporary:
            _write(form, report, temporary, content)
            _forget_preprocessed(workspace, form.dataset, content)
    return target


def check_cases(form: Form, found: Found, choices: Choices = Choices()) -> Report:
    """Read all cases whole, and judge them one by one and together."""
    unknown = set(choices.leave_out) - {case.name for case in found.cases}
    if unknown:
        raise OptionError(
            f'There is no case "{min(unknown)}" to leave out; the first one is "{found.cases[0].name}".'
        )
    wanted = [case for case in found.cases if case.name not in choices.leave_out]
    progress = tqdm(wanted, "Checking", unit="case", disable=not sys.stderr.isatty())
    cases = [check_case(case, form.channels, choices.allow_empty) for case in progress]
    map_values(cases, form)
    check_copies(cases)
    sound = [case for case in cases if not case.problems]
    check_channels(sound, form.dataset.channels)
    same_patient = check_patients(sound)
    orientation = common_orientation(sound)  # before the report, as it adds notes
    left_out = [*found.left_out, *((name, "It was not wanted.") for name in choices.leave_out)]
    return Report(cases, left_out, _remarks(sound, form, found), same_patient, orientation)


def _remarks(sound: Sequence[CheckedCase], form: Form, found: Found) -> list[str]:
    """Images that are not used, labels that nobody has, and the room that nnU-Net will take: numbers of 4
    bytes, and labels of 1."""
    volume_mm3 = sum(
        1000 * math.prod(case.grid.size) * case.grid.voxel_volume_ml for case in sound if case.grid
    )
    gib = volume_mm3 * (4 * len(form.channels) + 1) / 2**30
    room = [f"Preprocessed at 1 mm, they take at most {gib:.1f} GiB."] if sound else []
    return [*_unused(found), *check_labels_occur(sound, form.dataset), *room]


def _unused(found: Found) -> list[str]:
    if not found.unknown:
        return []
    return [f"{len(found.unknown)} images are not used, as they are named otherwise: {found.unknown[0]}."]


def _archives(folders: Sequence[Mapping[Path, Path]]) -> dict[Path, Path]:
    return {folder: of for each in folders for folder, of in each.items() if folder != of}


def _found(form: Form, sources: Sequence[Path], folders: Sequence[Mapping[Path, Path]]) -> Found:
    """The cases of all sources; equal names of several are told apart by their source's."""
    parts = [
        find_cases(each, form.layout, [names for folder in each for names in told_patients(folder)])
        for each in folders
    ]
    if len(sources) > 1 and not any(case.is_whole for part in parts for case in part.cases):
        parts = [
            find_cases([each for part in folders for each in part], form.layout)
        ]  # images here, labels there
        sources = sources[:1]
    for source, part in zip(sources, parts, strict=True):
        if not part.cases:
            sentence = _nothing_in(source, part, form.layout.hint)
            raise UnreadableImageError(named_by_archive(sentence, _archives(folders)))
    cases = [case for part in parts for case in part.cases]
    places = [source for source, part in zip(sources, parts, strict=True) for _ in part.cases]
    names = [safe_part(case.name) for case in cases]
    longer = [safe_part(f"{place.name}_{name}") for place, name in zip(places, names, strict=True)]
    told = told_apart(names, longer)
    renamed = [replace(case, name=name) for case, name in zip(cases, told, strict=True)]
    left_out = [each for part in parts for each in part.left_out]
    return Found(renamed, left_out, [each for part in parts for each in part.unknown])


def _nothing_in(source: Path, found: Found, hint: str) -> str:
    if found.left_out:
        reasons = " ".join(sorted({why for _, why in found.left_out}))
        return f"There are no cases in {source}: {len(found.left_out)} files were left out. {reasons}"
    other = f", not as {found.unknown[0]}" if found.unknown else ""
    return (
        f"There are no cases in {source}: this data set has its files as {hint}{other}. A data set in "
        "nnU-Net's layout already is given with --dataset to the other commands."
    )


def _tell(report: Report, table: Path, choices: Choices) -> None:
    report.write(table)
    sys.stdout.write(shown_lines(f"{report.text()}The table with all cases: {table}\n"))
    if not report.sound:
        raise InputError(f"None of the cases can be used: {table} says why.")
    check_taught(report)
    if report.faulty and not choices.skip_faulty:
        raise InputError(
            f"{report.count_of_faulty()}: "
            "correct them, leave them out one by one (--leave-out) or all together (--skip-faulty)."
        )


def _content(form: Form, report: Report) -> str:
    """A digest of all voxels and names: the same data set has the same one."""
    digest = hashlib.sha256(json_text(describe(form.dataset, 0)).encode())
    for case in sorted(report.sound, key=lambda case: case.name):
        line = (case.name, case.digests, case.label_digest, sorted(case.way.items()), report.orientation)
        digest.update(repr(line).encode())
    return digest.hexdigest()


def _former_content(workspace: Workspace, dataset: Dataset) -> str:
    file = workspace.raw / dataset.folder_name / DATASET_FILE
    if not file.is_file():
        return ""
    try:
        said = read_json(file, OptionError)
    except OptionError:
        return ""
    return str(said.get("content_sha256", "")) if isinstance(said, dict) else ""


def _check_former(target: Path) -> None:
    """A former data set is replaced only if a conversion made it, and nothing was added to it since."""
    if not target.exists():
        return
    file = target / DATASET_FILE
    said = read_json(file, OptionError) if file.is_file() else None
    if not isinstance(said, dict) or "content_sha256" not in said:
        raise OptionError(
            f"{target} was not made by 'mednext-train convert': move it away, or use another --workspace."
        )
    names = {path.name for path in target.iterdir() if not is_clutter(path.name)}
    strange = sorted(names - {IMAGES, LABELS, DATASET_FILE})
    cases = [path for path in (target / LABELS).glob("*") if not is_clutter(path.name)]
    if strange or len(cases) != said.get("numTraining"):
        held = strange[0] if strange else f"{len(cases)} instead of {said.get('numTraining')} cases"
        raise OptionError(
            f"{target} holds {held}, which the conversion did not make and which would be lost: move it "
            "away, or use another --workspace."
        )


def _check_results(workspace: Workspace, dataset: Dataset, content: str) -> None:
    """Weights that were trained on other data must not be taken for those of the new data, nor get lost."""
    results = workspace.results / dataset.folder_name
    if results.is_dir() and any(results.iterdir()) and _former_content(workspace, dataset) != content:
        raise OptionError(f"{results} was trained on other data: move it away, or use another --workspace.")


def _forget_preprocessed(workspace: Workspace, dataset: Dataset, content: str) -> None:
    """Nothing of other data stays, neither voxels nor plans nor splits."""
    folder = workspace.preprocessed / dataset.folder_name
    if folder.is_dir() and _former_content(workspace, dataset) != content:
        aside = folder.parent / f"{UNFINISHED}{signature()}-{folder.name}"
        folder.rename(aside)
        shutil.rmtree(aside)


def _write(form: Form, report: Report, target: Path, content: str) -> None:
    cases = report.sound
    files = [path for case in cases for path in case.found.images if path is not None]
    check_space(target.parent, sum(_size(path) for path in files), f"Converting {form.dataset.name}")
    for name in (IMAGES, LABELS):
        (target / name).mkdir()
    for case in tqdm(cases, "Writing", unit="case", disable=not sys.stderr.isatty()):
        for number, path in enumerate(case.found.images):
            assert path is not None  # sound cases have all images
            file = target / IMAGES / f"{case.name}_{number:04d}{FILE_ENDING}"
            _write_image(path, file, report.orientation)
        _write_labels(case, target / LABELS / f"{case.name}{FILE_ENDING}", report.orientation)
    same_patient = tuple(map(tuple, report.same_patient))
    write_dataset_json(target, replace(form.dataset, content=content, same_patient=same_patient), len(cases))


def _size(path: Path) -> int:
    files: Iterable[Path] = path.iterdir() if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files)


def _write_image(source: Path, target: Path, orientation: str) -> None:
    if source.name.lower().endswith(FILE_ENDING) and source.is_file():
        grid = read_header(source).geometry
        if grid.orientation == orientation and itk_sees(source, grid):
            shutil.copyfile(source, target)
            return
    volume = read_volume(source)
    array, grid = reorient_array(volume.array[0], volume.geometry, orientation)
    write_image(target, np.ascontiguousarray(array), grid)


def _write_labels(case: CheckedCase, target: Path, orientation: str) -> None:
    """The trained values on the grid of the case's first image, which that of the labels equals nearly."""
    assert case.found.label is not None
    assert case.grid is not None
    values = read_image(case.found.label).array.astype(np.int64)
    way = np.zeros(max(values.max(), *case.way) + 1, np.uint8 if max(case.way.values()) < 256 else np.uint16)
    for value, trained in case.way.items():
        way[value] = trained
    array, grid = reorient_array(way[values], case.grid, orientation)
    write_image(target, np.ascontiguousarray(array), grid)
