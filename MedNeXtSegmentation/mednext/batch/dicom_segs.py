"""A DICOM SEG beside each result of a batch, and perhaps in an archive.

The header of the result holds the SOPInstanceUID of its DICOM SEG, so that the two belong together whatever
happens in between: a DICOM SEG with another UID is of another program, and is never replaced.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import OutputError, UnreadableImageError, UnsupportedImageError
from ..images.dicom.header import read_header
from ..segmentation.formats.dicom_seg import SEG_UID, check_dicom_seg, write_dicom_seg
from ..segmentation.result import Segmentation
from .case import Case
from .finished_case import FORMER

SUFFIX = ".dcm"


@dataclass(frozen=True)
class DicomSegs:
    """Writes and recognises the DICOM SEG of results.

    store: stores a file in an archive, if it is not there yet, and returns the archive's address.
    """

    store: Callable[[Path], str] | None = None

    def check(self, case: Case) -> None:
        """Refuse a case whose result no DICOM SEG can hold, before it is segmented.

        Raises `UnsupportedImageError` for other images than DICOM, and the errors of `check_dicom_seg`.
        """
        folder, hash_sign, _ = case.images[0].rpartition("#") if case.images else ("", "", "")
        if not (hash_sign and Path(folder).is_dir()):
            raise UnsupportedImageError(
                f"{case.source} is no DICOM series, to which a DICOM SEG could refer: segment it without "
                "--dicom-seg and --store."
            )
        check_dicom_seg(case.images[0])

    def named(self, result: Segmentation) -> Segmentation:
        """The result with the UID of its DICOM SEG. An empty result has none."""
        if not result.labelmap.any():
            return result
        return replace(result, provenance={**result.provenance, SEG_UID: f"2.25.{uuid.uuid4().int}"})

    def write(self, path: Path, result: Segmentation, case: Case) -> None:
        """Write the DICOM SEG of a result that was `named`. Raises the errors of `write_dicom_seg`."""
        if uid_in(result.provenance):
            write_dicom_seg(path, result, case.images[0])

    def is_whole(self, path: Path, result: Segmentation) -> bool:
        """Whether the DICOM SEG of a finished result is there, or need not be.

        Raises `OutputError` where another file is in its place.
        """
        refuse_to_lose_seg(path, result.provenance)
        uid = uid_in(result.provenance)
        return (_holds_something(path) and _uid_of(path) == uid) if uid else not result.labelmap.any()


def refuse_to_lose_seg(path: Path, words: Mapping[str, str]) -> None:
    """Raise `OutputError` for a file that is not the DICOM SEG of the result with this provenance.

    That of the former result may be there too, after a batch that was killed between both files.
    """
    known = [uid for uid in (words.get(SEG_UID), words.get(FORMER + SEG_UID)) if uid]
    if _holds_something(path) and _uid_of(path) not in known:
        raise OutputError(
            f"{path} is there already, and no batch wrote it with its result, or it was changed since: it "
            "stays. Move it away to have the case segmented."
        )


def remove_former_seg(path: Path, words: Mapping[str, str]) -> None:
    """Remove the DICOM SEG of the result that the one with this provenance has replaced without any."""
    former = words.get(FORMER + SEG_UID)
    if former and not uid_in(words) and _holds_something(path) and _uid_of(path) == former:
        path.unlink()


def uid_in(words: Mapping[str, str]) -> str:
    """The UID of the DICOM SEG in the provenance of a result, "" if it has none."""
    return words.get(SEG_UID, "")


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _uid_of(path: Path) -> str | None:
    """The SOPInstanceUID of a file; None for a file that is no DICOM."""
    try:
        header = read_header(path)
    except UnreadableImageError:
        return None
    return header.get("SOPInstanceUID") if header else None
