"""Find the cases in an archive: series of chosen studies that fit the model, as in a folder."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..batch.case import Case
from ..batch.dicom_cases import cases_of_study
from ..errors import ArchiveError, OptionError
from ..images.dicom.header import DicomHeader
from ..images.dicom.series import SeriesHeader, series_header
from ..model.description import Model
from ..system.file_names import told_apart
from .archive import SERIES_UID, STUDY_UID, Archive, Item, checked_items, text, uids_of

logger = logging.getLogger(__name__)

PREFIX = "dicomweb:"  # of the images of a case, followed by study/series

_UID = re.compile(r"[0-9.]{1,64}")
_MODALITY, _DESCRIPTION, _SERIES_COUNT, _COUNT = "00080060", "0008103E", "00201206", "00201209"
_SAMPLED = {  # attributes of one image by which a localizer or a derived series is told
    "00080008": "ImageType",
    "00080016": "SOPClassUID",
    "00280002": "SamplesPerPixel",
    "00280008": "NumberOfFrames",
    "00200032": "ImagePositionPatient",
}


@dataclass(frozen=True)
class Selection:
    """The part of an archive to segment.

    Attributes:
        studies: StudyInstanceUIDs.
        series: SeriesInstanceUIDs; only these, of the studies or of the whole archive.
        query: attributes of studies, such as {"StudyDate": "20260101-20260131"}.

    Raises `OptionError` for a wrong UID, and where nothing is selected.
    """

    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    query: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [uid for uid in (*self.studies, *self.series) if not _UID.fullmatch(uid)]
        if wrong:
            raise OptionError(f"{wrong[0]!r} is no UID, which has digits and points only.")
        if not (self.studies or self.series or self.query):
            raise OptionError(
                "Nothing of the archive is selected: give --study, --series or --query, such as --query "
                "StudyDate=20260101-20260131."
            )

    @classmethod
    def of(cls, studies: Sequence[str], series: Sequence[str], terms: Sequence[str]) -> Selection:
        """The selection of a command; each term is an attribute and its value, `Modality=CT`."""
        query = {}
        for term in terms:
            keyword, equals, value = term.partition("=")
            if not (keyword.isalnum() and equals and value):
                raise OptionError("--query takes an attribute and its value, such as StudyDate=20260131.")
            query[keyword] = value
        return cls(tuple(studies), tuple(series), query)


def cases_in_archive(archive: Archive, model: Model, selection: Selection) -> list[Case]:
    """The cases of the selected studies, chosen by modality and description as in a folder.

    The name of a case is `StudyInstanceUID/SeriesInstanceUID`. Series that do not fit are left out with a
    reason. Raises `ArchiveError`, and `OptionError` where a selected study or series is not there.
    """
    cases: list[Case] = []
    met: set[str] = set()
    for study, count in _studies(archive, selection).items():
        if not _UID.fullmatch(study):
            cases.append(_without_uid("study"))
            continue
        try:
            listed = archive.series_of_study(study)
            if not selection.series:
                remedy = "run the batch again later, or name the series with --series"
                listed.check(f"series of the study {study}", count, remedy)
        except ArchiveError as error:  # the other studies may be all right
            cases.append(Case(study, (), (), study, problem=error))
            continue
        chosen = [
            item
            for item in listed.items
            if not selection.series or text(item, SERIES_UID) in selection.series
        ]
        met |= {text(item, SERIES_UID) for item in chosen}
        cases += _cases(archive, model, study, chosen)
    missing = [uid for uid in selection.series if uid not in met]
    if missing:
        raise OptionError(f"The archive has no series {missing[0]} in the selected studies: check the UID.")
    names = told_apart([case.name for case in cases], [case.name for case in cases])
    return [replace(case, name=name) for case, name in zip(cases, names, strict=True)]


def _studies(archive: Archive, selection: Selection) -> dict[str, str]:
    """The UIDs of the studies, each known to be there, with the archive's count of their series, or ""."""
    found: dict[str, str] = {}
    filters = [{"StudyInstanceUID": uid} | selection.query for uid in selection.studies]
    if not filters and selection.query:
        filters = [selection.query]
    for each in filters:
        listed, wanted = archive.studies(each), each.get("StudyInstanceUID")
        counts = {text(item, STUDY_UID): text(item, _SERIES_COUNT) for item in listed.items}
        if wanted is None:
            remedy = "name each study with --study, or narrow the query if the archive cuts long lists"
            listed.check("studies", "", remedy)
        elif wanted not in counts:
            raise OptionError(f"The archive has no study {wanted} that fits the query.")
        else:
            counts = {wanted: counts[wanted]}
        found |= counts
    if not filters:
        found = {uid: "" for series in selection.series for uid in _study_of(archive, series)}
    return found


def _study_of(archive: Archive, series: str) -> list[str]:
    def search(client: Any, **page: int) -> Any:
        return client.search_for_series(search_filters={"SeriesInstanceUID": series}, **page)

    found = archive.pages("Searching a series", SERIES_UID, search).items
    return [text(item, STUDY_UID) for item in found if text(item, SERIES_UID) == series]


def _cases(archive: Archive, model: Model, study: str, items: Sequence[Item]) -> Iterator[Case]:
    """The cases of one study, with the identity of their content."""
    modalities = {channel.modality for channel in model.channels}
    listed: dict[str, list[str]] = {}
    headers = []
    for item in items:
        series, modality = text(item, SERIES_UID), text(item, _MODALITY)
        if not _UID.fullmatch(series):
            yield _without_uid("series", f"{study}/")
            continue
        problem, listed[series] = None, []
        try:
            if modality in modalities:
                listed[series] = _listed(archive, study, item)
        except ArchiveError as error:
            problem = error
        headers.append(replace(_header(archive, study, item, listed[series]), problem=problem))
    for case in cases_of_study(Path(), headers, model):
        uids = [image.rpartition("#")[2] for image in case.images]
        content = content_of([listed[uid] for uid in uids]) if uids else ""
        images = tuple(f"{PREFIX}{study}/{uid}" for uid in uids)
        yield replace(case, images=images, files=(), content=content)


def _without_uid(kind: str, place: str = "") -> Case:
    """A case that cannot be asked for; its UID is not shown, since it may be anything."""
    problem = ArchiveError(f"The archive lists a {kind} whose UID is missing or wrong: tell its staff.")
    return Case(f"{place}{kind} without UID", (), (), f"{place}{kind} without UID", problem=problem)


def _listed(archive: Archive, study: str, item: Item) -> list[str]:
    """The SOPInstanceUIDs of a series. Raises `ArchiveError` where some are missing."""
    series = text(item, SERIES_UID)
    found = archive.instances(study, series)
    found.check(f"images of the series {series}", text(item, _COUNT), "a part of a series is not segmented")
    if not found.items:
        raise ArchiveError(f"The archive lists no images of the series {series}: run the batch again later.")
    return uids_of(found)


def _header(archive: Archive, study: str, item: Item, instances: Sequence[str]) -> SeriesHeader:
    """The series as if its files lay in the folder `study/series`, by the headers of one image."""
    series = text(item, SERIES_UID)
    values = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "Modality": text(item, _MODALITY),
        "SeriesDescription": text(item, _DESCRIPTION),
    }
    if instances:
        middle = instances[len(instances) // 2]
        try:
            (sample,) = archive.call(
                "Reading the headers of an image",
                lambda client: checked_items([client.retrieve_instance_metadata(study, series, middle)]),
            )
            values |= {name: text(sample, tag) for tag, name in _SAMPLED.items() if tag in sample}
        except ArchiveError as error:  # the retrieved images will say
            logger.info("%s", error)
    count = text(item, _COUNT)
    files = len(instances) or (int(count) if count.isdecimal() and len(count) < 5 else 0)
    one = DicomHeader(Path(study, series), values, True, "", 0)
    return series_header(Path(study, series), series, [one] * max(files, 2 - bool(instances)))


def content_of(instances: Sequence[Sequence[str]]) -> str:
    """A fingerprint of series, given by the SOPInstanceUIDs of each: an image never changes its UID."""
    return hashlib.sha256("\n\n".join("\n".join(each) for each in instances).encode()).hexdigest()
