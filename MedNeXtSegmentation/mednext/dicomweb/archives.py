"""The archives of a batch: the one that its images come from, and the one that its results go to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..batch.case import Case
from ..batch.dicom_segs import DicomSegs
from .archive import Archive, Credentials
from .retrieval import retrieved
from .storing import store


@dataclass(frozen=True)
class Archives:
    """Where a batch gets its images and stores its results.

    Attributes:
        source: address of the archive with the images; "" for files.
        sink: address of the archive that gets each DICOM SEG; "" for none.
        dicom_seg: write a DICOM SEG beside each result.
        plain_http: allow connections without encryption to other computers.
        credentials: for both; they pass through the pipe to a worker, and are never written anywhere.
    """

    source: str = ""
    sink: str = ""
    dicom_seg: bool = False
    plain_http: bool = False
    credentials: Credentials = field(default_factory=Credentials, repr=False)

    def open(self, address: str) -> Archive:
        """One of the archives. Raises the errors of `Archive`."""
        return Archive(address, self.credentials, self.plain_http)

    def fetch(self, output: Path) -> Callable[[Case], AbstractContextManager[Case]]:
        """The attribute `fetch` of a `Batch`."""
        if not self.source:
            return nullcontext
        return partial(retrieved, self.open(self.source), output=output)

    def segs(self) -> DicomSegs | None:
        """The attribute `segs` of a `Batch`."""
        if self.sink:
            return DicomSegs(partial(store, self.open(self.sink)))
        return DicomSegs() if self.dicom_seg else None
