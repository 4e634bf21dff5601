"""Choose the DICOM series of a folder to segment, by study, modality and description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ChannelError, InputError, UnreadableImageError
from ..images.dicom.header import read_header
from ..images.dicom.series import SeriesHeader, are_copies, series_in
from ..inputs.channel_names import channel_in, group_by_channels
from ..model.description import Model
from ..system.file_names import safe_part
from .case import Case, folder_name, relative


def has_dicom(files: Sequence[Path]) -> bool:
    """Whether one of these files is DICOM."""
    return any(_is_dicom(file) for file in files)


def dicom_cases(root: Path, folders: Sequence[Path], model: Model) -> Iterator[Case]:
    """The cases among all series in these folders, which may belong to several studies.

    A model of one channel takes every series of its modality; if its channel is a sequence of MR ("T1"), only
    those with the sequence in their description, or the only series of a study. A model of several channels
    takes the series of a study that have the channels' names in their descriptions.
    """
    found: dict[str, list[SeriesHeader]] = {}
    for folder in folders:
        try:
            for header in series_in(folder):
                found.setdefault(header.uid, []).append(header)
        except InputError as error:
            yield _refused(root, folder, error)
    studies: dict[str, list[SeriesHeader]] = {}
    for headers in found.values():
        if len(headers) > 1 and not are_copies(headers):
            yield _spread(root, headers)
            continue
        for header in headers:
            studies.setdefault(header.study_uid or str(header.folder), []).append(header)
    for series in studies.values():
        yield from cases_of_study(root, series, model)


def _spread(root: Path, parts: Sequence[SeriesHeader]) -> Case:
    """A refused case: the slices of its series lie in several folders, so that each has a part only."""
    folder = _common_folder(parts)
    folders = ", ".join(relative(part.folder, root) for part in parts)
    problem = UnreadableImageError(
        f'The slices of one series ({parts[0].modality} "{parts[0].description}") lie in several folders '
        f"({folders}): put all of them into one folder."
    )
    return Case(
        folder_name(folder, root),
        (),
        (),
        f"{relative(folder, root)}#{parts[0].uid}",
        problem=problem,
        long_name=f"{folder_name(folder, root)}/{safe_part(parts[0].description or parts[0].uid)}",
    )


def cases_of_study(root: Path, series: Sequence[SeriesHeader], model: Model) -> Iterator[Case]:
    """The cases among the series of one study, whose folders lie below `root`."""
    modalities = {channel.modality for channel in model.channels}
    fitting = []
    for header in series:
        why = header.left_out
        if not why and header.modality not in modalities:
            why = f"Its modality is {header.modality or 'not given'}."
        if why:
            yield _left_out(root, header, why)
        else:
            fitting.append(header)
    derived = [header for header in fitting if header.derived]
    if len(derived) < len(fitting):
        for header in derived:
            fitting.remove(header)
            why = "It was made of other images (ImageType DERIVED/SECONDARY) that the study has too."
            yield _left_out(root, header, why)
    for header in [header for header in fitting if header.problem]:
        fitting.remove(header)
        yield replace(_case(root, [header], folder_name(header.folder, root)), problem=header.problem)
    if len(model.channels) == 1:
        yield from _single_channel(root, fitting, model)
    elif fitting:
        yield from _several_channels(root, fitting, model)


def _single_channel(root: Path, series: Sequence[SeriesHeader], model: Model) -> Iterator[Case]:
    channel = model.channels[0]
    chosen = list(series)
    if channel.name.casefold() != channel.modality.casefold() and len(series) > 1:
        chosen = [header for header in series if channel_in(header.description, [channel.name]) is not None]
        if not chosen:
            listed = "; ".join(f"{relative(header.folder, root)} {header.title}" for header in series)
            sentence = (
                f"The study has {len(series)} series, and none is called {channel.name}: {listed}. Put the "
                "right one into a folder without the others."
            )
            yield _refused(root, _common_folder(series), ChannelError(sentence))
            return
    for header in series:
        if header in chosen:
            yield _case(root, [header], folder_name(header.folder, root))
        else:
            yield _left_out(root, header, f"It is not called {channel.name}.")


def _several_channels(root: Path, series: Sequence[SeriesHeader], model: Model) -> Iterator[Case]:
    channels = [channel.name for channel in model.channels]
    folder = _common_folder(series)
    groups, unclaimed = group_by_channels([header.description for header in series], channels)
    together = [group for group in groups if group.members]
    if not together and len(groups) > 1:  # the descriptions differ in more than the channel
        groups = [group for group in groups if group.problem][:1]
    for index in unclaimed:
        yield _left_out(root, series[index], f"None of {', '.join(channels)} is in its description.")
    for group in groups:
        if group.problem or not group.members:
            sentence = f"{group.problem} The model needs {', '.join(channels)}, each once."
            yield _refused(root, folder, ChannelError(sentence))
            continue
        name = folder_name(folder, root)
        if len(groups) > 1:
            name = f"{name}/{safe_part(group.name)}"
        yield _case(root, [series[index] for index in group.members], name)


def _case(root: Path, series: Sequence[SeriesHeader], name: str) -> Case:
    return Case(
        name,
        tuple(f"{header.folder}#{header.uid}" for header in series),
        tuple(file for header in series for file in header.files),
        "; ".join(f"{relative(header.folder, root)}#{header.uid}" for header in series),
        long_name=f"{name}/{safe_part(series[0].description or series[0].uid)}",
    )


def _refused(root: Path, folder: Path, problem: InputError) -> Case:
    return Case(folder_name(folder, root), (), (), relative(folder, root), problem=problem)


def _left_out(root: Path, header: SeriesHeader, why: str) -> Case:
    name = f"{folder_name(header.folder, root)}/{safe_part(header.description or header.uid)}"
    source = f"{relative(header.folder, root)}#{header.uid}"
    return Case(name, (), (), source, left_out=f"{why} {header.title}")


def _common_folder(series: Sequence[SeriesHeader]) -> Path:
    folder = series[0].folder
    while not all(header.folder.is_relative_to(folder) for header in series):
        folder = folder.parent
    return folder


def _is_dicom(file: Path) -> bool:
    try:
        return read_header(file) is not None
    except UnreadableImageError:
        return False
