"""Whether a case of a batch is finished: its result exists, unchanged, and is of the same recipe.

The header of a result holds its recipe, its source, a fingerprint of the images' files and a seal (SHA-256 of
its labels), and a seal of its uncertainty where that lies beside it. A file without a seal, or with a broken
one, is not from a batch or was corrected since, and is never replaced.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError, UnreadableImageError
from ..images.formats.image_files import files_of
from ..images.formats.nifti_header import nifti_header
from ..images.formats.nrrd_header import nrrd_header
from ..images.formats.stored_voxels import read_voxels
from ..model.labels import Label, Region
from ..model.sides import has_sides
from ..segmentation.formats.dicom_seg import SEG_UID
from ..segmentation.formats.seg_nrrd import header_value, read_provenance
from ..segmentation.result import Segmentation
from .case import Case

SOURCE = "source"
SEAL = "labelmap_sha256"
UNCERTAINTY_SEAL = "uncertainty_sha256"
FINGERPRINT = "source_fingerprint"
FORMER = "former_"  # prefix of the marks of a replaced result's files, which stay there if a batch is killed

_MARKS = (UNCERTAINTY_SEAL, SEG_UID)

_PIECES = 16
_PIECE_BYTES = 2**16


def sealed(
    segmentation: Segmentation, case: Case, files: str, former: Mapping[str, str] | None = None
) -> Segmentation:
    """The segmentation with the entries by which `finished` recognises it.

    `files` is the `fingerprint` of the images that were read for it, `former` the provenance of the result
    that it replaces.
    """
    words = {SOURCE: case.source, FINGERPRINT: files, SEAL: _seal(segmentation.labelmap)}
    if segmentation.uncertainty is not None:
        words[UNCERTAINTY_SEAL] = _seal(segmentation.uncertainty)
    words |= {FORMER + mark: former[mark] for mark in _MARKS if former and former.get(mark)}
    return replace(segmentation, provenance={**segmentation.provenance, **words})


def finished(
    path: Path,
    case: Case,
    recipe: Mapping[str, str],
    labels: tuple[Label, ...],
    regions: tuple[Region, ...] = (),
    *,
    of_sides: tuple[tuple[Label, ...], tuple[Region, ...]] = ((), ()),
    again: bool = False,
) -> Segmentation | None:
    """The result of this case in `path`; None where there is none, or one that may be replaced.

    A result may be replaced when its data are damaged, when an image was written after it or has changed
    otherwise, or when `again` is set and the result is as a batch wrote it. A result with both sides of a
    structure has the labels and regions `of_sides`.

    Raises:
        OutputError: `path` is another file, which must not be lost.
    """
    if not _is_there(path):
        return None
    words = words_of(path)
    if SEAL not in words:
        raise OutputError(
            f"{path} is there already, and no batch wrote it, or it was corrected since: it stays. Move "
            "it away to have the case segmented."
        )
    wanted = {**recipe, SOURCE: case.source}
    different = [
        key for key, value in wanted.items() if header_value(words.get(key, "")) != header_value(value)
    ]
    if different and not again:
        raise OutputError(
            f"{path} was made with another {', '.join(different)}: choose another output folder, or have "
            "everything done again."
        )
    if has_sides(words):
        labels, regions = of_sides
    try:
        result = replace(_read(path, words, labels), regions=regions)
    except UnreadableImageError:
        return None
    if _seal(result.labelmap) != words[SEAL]:
        raise OutputError(
            f"{path} was changed since it was written: it stays. Move it away to have it redone."
        )
    return None if again or _older(path, case) or _another(words, case) else result


def _another(words: Mapping[str, str], case: Case) -> bool:
    """Whether the images are known to differ from those of the result with this provenance."""
    return FINGERPRINT in words and words[FINGERPRINT] != fingerprint(case)


def fingerprint(case: Case) -> str:
    """SHA-256 of the sizes of a case's files and of pieces spread over them; it differs for another image,
    even if the times of the files are the same.

    Files up to 1 MiB are read wholly. The ends of larger ones would not suffice: in uncompressed images they
    hold only air. Data files of detached headers are included.
    """
    if case.content:
        return case.content
    found = hashlib.sha256()
    for path in _files(case):
        with suppress(OSError), path.open("rb") as file:  # reading the image reports an unreadable file
            size = os.fstat(file.fileno()).st_size
            found.update(f"{size}:".encode())
            last = max(0, size - _PIECE_BYTES)
            for piece in range(_PIECES):
                file.seek(last * piece // (_PIECES - 1))
                found.update(file.read(_PIECE_BYTES))
    return found.hexdigest()


def words_of(path: Path) -> dict[str, str]:
    """The provenance of a result, empty where there is none."""
    try:
        return read_provenance(path) if _is_there(path) else {}
    except UnreadableImageError:
        return {}


def _read(path: Path, words: Mapping[str, str], labels: tuple[Label, ...]) -> Segmentation:
    try:
        header = nrrd_header(path)
        labelmap, _ = read_voxels(header.voxels)
    except InputError as error:
        raise UnreadableImageError(f"{path} is damaged.") from error
    return Segmentation(labelmap, header.geometry, labels, words)


def _files(case: Case) -> Iterator[Path]:
    """All files of the images, including the data files of detached headers."""
    for path in case.files:
        yield from files_of(path)


def _older(path: Path, case: Case) -> bool:
    """Whether an image was written after the result."""
    written = path.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns > written for file in _files(case) if file.exists())


def written_uncertainty(path: Path, result: Path) -> bool:
    """Whether `path` holds the uncertainty of the result in `result`, as a batch wrote both."""
    return _is_there(path) and _sealed_by(path, [words_of(result).get(UNCERTAINTY_SEAL)])


def refuse_to_lose(uncertainty: Path, result: Path) -> None:
    """Raise `OutputError` for a file in the place of the uncertainty that no batch wrote with the result.

    That of the former result may be there too, after a batch that was killed between both files.
    """
    words = words_of(result)
    seals = [words.get(UNCERTAINTY_SEAL), words.get(FORMER + UNCERTAINTY_SEAL)]
    if _is_there(uncertainty) and not _sealed_by(uncertainty, seals):
        raise OutputError(
            f"{uncertainty} is there already, and no batch wrote it with {result.name}, or it was changed "
            "since: it stays. Move it away to have the case segmented."
        )


def remove_former(uncertainty: Path, words: Mapping[str, str]) -> None:
    """Remove the uncertainty of the result that the one with this provenance has replaced without any."""
    seals = [words.get(FORMER + UNCERTAINTY_SEAL)]
    if UNCERTAINTY_SEAL not in words and _is_there(uncertainty) and _sealed_by(uncertainty, seals):
        uncertainty.unlink()


def _sealed_by(path: Path, seals: Sequence[str | None]) -> bool:
    """Whether the voxels of an uncertainty have one of these seals."""
    try:
        return any(seals) and _seal(read_voxels(nifti_header(path).voxels)[0]) in seals
    except InputError:
        return False


def state(path: Path) -> tuple[int, ...] | None:
    """Numbers that change when a file is written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_there(path: Path) -> bool:
    """Whether there is anything to lose; programs reserve the name of a file by making an empty one."""
    return path.exists() and not (path.is_file() and path.stat().st_size == 0)


def _seal(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
