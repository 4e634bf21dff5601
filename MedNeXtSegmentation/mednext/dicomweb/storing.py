"""Store a DICOM SEG in an archive, beside the series that it refers to, and nowhere else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArchiveError, OutputError
from ..system.atomic import replacing
from ..system.json_reading import read_json
from .archive import SERIES_UID, STUDY_UID, Archive, Item, attribute, text, uids_of

if TYPE_CHECKING:
    import pydicom

_PATIENT = {"00100020": "PatientID", "00100030": "PatientBirthDate"}
_NAME = "00100010"
RECORD_SUFFIX = ".stored.json"


def store(archive: Archive, path: Path) -> str:
    """Store a DICOM SEG, unless a record beside it says that it is stored; return the archive's address.

    Raises `ArchiveError` where the archive has not its study, its series or its patient, refuses it, or does
    not list it afterwards.
    """
    import pydicom

    dataset = pydicom.dcmread(path)
    uid = attribute(dataset, "SOPInstanceUID")
    record = path.with_name(path.name.removesuffix(".dcm") + RECORD_SUFFIX)
    if _recorded(record) == (archive.url, uid):
        return archive.url
    _check_belongs(archive, dataset)
    study, series = attribute(dataset, "StudyInstanceUID"), attribute(dataset, "SeriesInstanceUID")
    answer = archive.call(
        "Storing a result", lambda client: client.store_instances([dataset], study_instance_uid=study)
    )
    refused = getattr(answer, "FailedSOPSequence", None)
    if refused:
        reason = getattr(refused[0], "FailureReason", 0)
        raise ArchiveError(
            f"{archive.url} refuses to store {path.name} (reason {reason:#06x}): "
            "ask the archive's staff for the reason."
        )
    if uid not in uids_of(archive.instances(study, series)):
        raise ArchiveError(f"{archive.url} accepted {path.name}, but does not list it: look for it there.")
    words = {"archive": archive.url, "sop_instance_uid": uid, "time": datetime.now(UTC).isoformat()}
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(words, indent=2), encoding="utf-8")
    return archive.url


def _recorded(record: Path) -> tuple[str, str] | None:
    """The archive and the object that a record names."""
    if not record.exists():
        return None
    told = read_json(record, OutputError)
    if not isinstance(told, dict):
        raise OutputError(f"{record} is not the record of a stored result: move it away.")
    return str(told.get("archive")), str(told.get("sop_instance_uid"))


def _check_belongs(archive: Archive, dataset: pydicom.Dataset) -> None:
    """Refuse an object whose study, patient or series the archive does not have."""
    uid = attribute(dataset, "StudyInstanceUID")
    found = archive.studies({"StudyInstanceUID": uid}).items
    studies = [item for item in found if text(item, STUDY_UID) == uid]
    if len(studies) != 1:
        raise ArchiveError(
            f"{archive.url} has no study {uid}: the result would lie there without its images. Store it "
            "in the archive that has them."
        )
    _check_patient(archive, studies[0], dataset)
    present = {text(item, SERIES_UID) for item in archive.series_of_study(uid).items}
    for series in dataset.get("ReferencedSeriesSequence", []):
        if attribute(series, "SeriesInstanceUID") not in present:
            raise ArchiveError(f"{archive.url} lacks the series of the study {uid} that was segmented.")


def _check_patient(archive: Archive, study: Item, dataset: pydicom.Dataset) -> None:
    for tag, name in _PATIENT.items():
        there, here = text(study, tag), attribute(dataset, name)
        if (there or here) and there != here and not (name == "PatientBirthDate" and not (there and here)):
            raise ArchiveError(
                f"The study of the result has another {name} in {archive.url} than in the images that were "
                "segmented: nothing is stored. Ask the archive's staff which is right."
            )
    if not attribute(dataset, "PatientID") and _folded(text(study, _NAME)) != _folded(
        attribute(dataset, "PatientName")
    ):
        raise ArchiveError(
            f"The study of the result has no PatientID, and another PatientName in {archive.url} than in the "
            "images that were segmented: nothing is stored."
        )


def _folded(name: str) -> str:
    return " ".join(name.replace("^", " ").casefold().split())
