"""Download files of one publisher into one folder: members of a zip file, or files of their own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import DownloadIntegrityError
from ..system.atomic import check_space, explaining
from ..system.file_names import check_relative, inside
from ..system.locks import locked
from .archive import MAX_FILES, MAX_UNPACKED_BYTES
from .first_use import compare_or_keep, source_name
from .kept_downloads import downloads_folder, forget_old_downloads

if TYPE_CHECKING:
    from .download import DownloadProgress, Patience
    from .download.remote_zip import Member

_GIB = 2**30


@dataclass(frozen=True)
class RemotePart:
    """A file to download.

    Attributes:
        path: its place in the folder.
        source: the name under which its digest is kept, see `first_use`.
        arriving: bytes to download; None if the server tells them later.
        disk: bytes on the disk during the download, about `arriving` or more.
        fetch: downloads it into a file, and returns its SHA-256.
    """

    path: str
    source: str
    arriving: int | None
    disk: int
    fetch: Callable[[Path, DownloadProgress | None], str]


def parts_of_zip(
    url: str,
    choose: Callable[[Sequence[Member]], Mapping[str, Member]],
    patience: Patience | None = None,
) -> list[RemotePart]:
    """Members of a zip file on a server.

    Args:
        choose: gets all members, and returns those to download by their places in the folder.

    Raises:
        DownloadError, DownloadIntegrityError, UnsafePathError: see `remote_zip`.
    """
    from .download.remote_file import RemoteFile
    from .download.remote_zip import fetch_member, list_members

    remote = RemoteFile.at(url, patience=patience)

    def part(path: str, member: Member) -> RemotePart:
        def fetch(target: Path, progress: DownloadProgress | None) -> str:
            return fetch_member(remote, member, target, progress=progress)

        disk = member.size if member.is_stored else member.size + member.packed
        return RemotePart(path, source_name(url, member.name), member.packed, disk, fetch)

    return [part(path, member) for path, member in choose(list_members(remote)).items()]


def parts_at_addresses(addresses: Mapping[str, str], patience: Patience | None = None) -> list[RemotePart]:
    """Files with addresses of their own, by their places in the folder."""
    from .download import download
    from .download.partial import sha256_of

    def part(path: str, url: str) -> RemotePart:
        def fetch(target: Path, progress: DownloadProgress | None) -> str:
            if not target.is_file():
                download([url], target, sha256=None, progress=progress, patience=patience)
            return sha256_of(target)

        return RemotePart(path, source_name(url), None, 0, fetch)

    return [part(path, url) for path, url in addresses.items()]


def without_common_folder(names: Sequence[str]) -> dict[str, str]:
    """Names in a zip file by their places in a folder that holds no more than they have in common.

    >>> without_common_folder(["a/b/plans.pkl", "a/b/fold_0/m.model"])
    {"plans.pkl": "a/b/plans.pkl", "fold_0/m.model": "a/b/fold_0/m.model"}
    """
    folders = [PurePosixPath(name).parent.parts for name in names]
    common = 0
    while all(len(folder) > common and folder[common] == folders[0][common] for folder in folders):
        common += 1
    return {"/".join(PurePosixPath(name).parts[common:]): name for name in names}


@contextmanager
def fetched_folder(
    parts: Sequence[RemotePart],
    *,
    accept_change: bool = False,
    progress: DownloadProgress | None = None,
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Download all parts, compare them with their first use, and yield their folder and the digests new here.

    The folder lies among the models. It is removed after the block, and kept after an error, so that the next
    call resumes the download.

    Raises:
        DownloadError: a server did not deliver a part.
        DownloadIntegrityError: a part is damaged, or has changed since its first use here.
        UnsafePathError: a path leaves the folder.
        DiskSpaceError, OutputError: the models folder is full or cannot be written.
    """
    _check_parts(parts)
    sources = "\n".join(sorted(f"{part.path} {part.source}" for part in parts))
    folder = downloads_folder() / hashlib.sha256(sources.encode()).hexdigest()[:16]
    with ExitStack() as stack:
        with explaining(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder.with_name(f"{folder.name}.lock")))
            folder.mkdir(exist_ok=True)
            forget_old_downloads()
            digests = _fetch_all(parts, folder, progress)
        yield folder, compare_or_keep(digests, accept_change=accept_change)
        shutil.rmtree(folder, ignore_errors=True)


def _check_parts(parts: Sequence[RemotePart]) -> None:
    size = sum(part.disk for part in parts)
    if len(parts) > MAX_FILES or size > MAX_UNPACKED_BYTES:
        raise DownloadIntegrityError(
            f"{len(parts)} files of {size / _GIB:.1f} GiB together are more than a model has "
            f"({MAX_FILES} files, {MAX_UNPACKED_BYTES / _GIB:.0f} GiB). Choose fewer members."
        )
    for part in parts:
        check_relative(part.path)


def _fetch_all(
    parts: Sequence[RemotePart], folder: Path, progress: DownloadProgress | None
) -> dict[str, str]:
    """Download the parts, the small ones first; return their digests by source."""
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    check_space(folder, max(0, sum(part.disk for part in parts) - there), "The download")
    known = all(part.arriving is not None for part in parts)
    total = sum(part.arriving or 0 for part in parts) if known else None
    before = 0
    digests = {}
    for part in sorted(parts, key=lambda part: part.arriving or 0):
        target = inside(folder, part.path)
        last = 0

        def report(done: int, of_part: int | None, before: int = before) -> None:
            nonlocal last
            last = done
            if progress is not None:
                whole = total if total is not None or len(parts) > 1 else of_part
                progress(before + done, whole)

        digests[part.source] = part.fetch(target, report)
        before += part.arriving if part.arriving is not None else last
        if progress is not None and total:
            progress(before, total)
    return digests
