"""Retrieve the series of a case into a folder, whole or not at all."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.case import Case
from ..errors import ArchiveError
from ..images.dicom.series import series_in
from ..system.atomic import UNFINISHED, explaining
from ..system.running_processes import signature
from .archive import ANY_SYNTAX, Archive, attribute, uids_of
from .search import PREFIX, content_of

if TYPE_CHECKING:
    import pydicom

logger = logging.getLogger(__name__)


@contextmanager
def retrieved(archive: Archive, case: Case, output: Path) -> Iterator[Case]:
    """The case with its images in a private folder below `output`, which is removed at the end of the block.

    Where the images show that the series need not be segmented (a localizer), the case is `left_out`.

    Raises:
        ArchiveError: an image cannot be retrieved, belongs to another series or patient, or the series is not
            the one that was listed, as while it still arrives.
        DiskSpaceError, OutputError: of writing.
    """
    series = [image.removeprefix(PREFIX).split("/") for image in case.images]
    listed = [uids_of(archive.instances(study, uid)) for study, uid in series]
    if content_of(listed) != case.content:
        raise ArchiveError(
            f"The images of {case.name} in the archive have changed since they were listed: run the batch "
            "again once all have arrived."
        )
    scratch = output / f"{UNFINISHED}{signature()}-{secrets.token_hex(6)}-series"
    try:
        with explaining(scratch / "image"):
            scratch.mkdir(mode=0o700)
        patients: set[str] = set()
        for (study, uid), instances in zip(series, listed, strict=True):
            part = _Series(archive, study, uid, instances, scratch / uid)
            part.retrieve()
            patients |= part.patients
        if len(patients) > 1:
            raise ArchiveError(
                f"The images of {case.name} belong to {len(patients)} patients "
                "(PatientID): ask the archive's staff to part them."
            )
        yield _local(case, [(scratch / uid, uid) for _, uid in series])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _local(case: Case, places: Sequence[tuple[Path, str]]) -> Case:
    """The case with the images in these folders."""
    files = tuple(file for folder, _ in places for file in sorted(folder.iterdir()))
    local = replace(case, images=tuple(f"{folder}#{uid}" for folder, uid in places), files=files)
    for folder, uid in places:
        for header in series_in(folder):
            if header.uid == uid and header.left_out:
                return replace(local, left_out=header.left_out)
    return local


@dataclass
class _Series:
    """A series on its way into a folder."""

    archive: Archive
    study: str
    uid: str
    instances: Sequence[str]
    folder: Path
    missing: set[str] = field(default_factory=set)
    patients: set[str] = field(default_factory=set)
    strange: bool = False  # an image of another series arrived

    def retrieve(self) -> None:
        """Write each image into a file. Raises `ArchiveError` where one is missing or strange."""
        self.missing = set(self.instances)
        with explaining(self.folder / "image"):
            self.folder.mkdir()
            try:
                self.archive.call("Retrieving a series", self._whole)
            except ArchiveError as error:
                logger.info("%s Its images are retrieved one by one.", error)
            for uid in sorted(self.missing):
                if not self.strange:
                    self._one(uid)
        if self.strange:
            raise ArchiveError(
                f"{self.archive.url} sends images of another series instead of "
                f"{self.uid}: tell the archive's staff."
            )
        if self.missing:
            raise ArchiveError(
                f"{len(self.missing)} of {len(self.instances)} images of the series {self.uid} are missing: "
                "a part of a series is not segmented. Run the batch again once the archive has all of them."
            )

    def _whole(self, client: Any) -> None:
        arriving = client.iter_series(self.study, self.uid, media_types=ANY_SYNTAX)
        for dataset in islice(arriving, len(self.instances) + 1):  # the last tells of a strange one
            self._keep(dataset)

    def _one(self, uid: str) -> None:
        doing = f"Retrieving {len(self.missing)} of {len(self.instances)} images of a series"
        self._keep(
            self.archive.call(
                doing,
                lambda client: client.retrieve_instance(self.study, self.uid, uid, media_types=ANY_SYNTAX),
            )
        )

    def _keep(self, dataset: pydicom.Dataset) -> None:
        uid = attribute(dataset, "SOPInstanceUID")
        found = [attribute(dataset, name) for name in ("StudyInstanceUID", "SeriesInstanceUID")]
        if found != [self.study, self.uid] or uid not in self.instances:
            self.strange = True
            return
        self.patients.add(attribute(dataset, "PatientID"))
        dataset.save_as(self.folder / f"{self.instances.index(uid):06d}.dcm", enforce_file_format=True)
        self.missing.discard(uid)
