"""Single members of a zip file on a server: listed, found by their names, downloaded and verified.

Only the list of members, and the bytes of those that are wanted, are downloaded. Names, sizes and offsets
come from a foreign file: every one is checked before it is used.
"""

from __future__ import annotations

import hashlib
import logging
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import DownloadError, DownloadIntegrityError, MedNeXtError, UnsafePathError
from ...system.atomic import explaining, replacing
from ...system.file_names import as_compared, check_relative, shortened
from ..archive import MAX_RATIO, SMALL_BYTES
from ..web_address import shown_address
from .remote_file import RemoteFile, RemoteReader
from .resumable import LARGEST_BYTES, DownloadProgress, download

logger = logging.getLogger(__name__)

MAX_MEMBERS = 200_000

_BLOCK_BYTES = 2**20
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_MOST_LISTED = 8
_MOST_WORDS = 300


@dataclass(frozen=True)
class Member:
    """A file in a zip file.

    Attributes:
        name: with its folders.
        size: bytes, unpacked.
        packed: bytes in the zip file.
        crc: its CRC-32.
        is_stored: whether it is not compressed.
        header: position of its header.
        problem: the reason why it cannot be downloaded, or "".
    """

    name: str
    size: int
    packed: int
    crc: int
    is_stored: bool
    header: int
    problem: str = ""


def list_members(remote: RemoteFile) -> list[Member]:
    """The files in a zip file on a server, without folders, in the order of its list.

    Raises:
        DownloadError: the server did not deliver the list.
        DownloadIntegrityError: the list is damaged, or it is no zip file.
    """
    try:
        with zipfile.ZipFile(RemoteReader(remote)) as archive:
            entries = archive.infolist()
    except MedNeXtError:
        raise
    except Exception as error:  # boundary: for a damaged file zipfile and struct raise anything
        logger.info("The list of members of %s cannot be read.", shown_address(remote.url), exc_info=True)
        raise DownloadIntegrityError(
            f"{shown_address(remote.url)} is not a zip file, or a damaged one ({str(error)[:_MOST_WORDS]}). "
            "Check the address, or report this to its publisher."
        ) from error
    if len(entries) > MAX_MEMBERS:
        raise DownloadIntegrityError(
            f"{shown_address(remote.url)} has {len(entries)} members, and no published model has more than "
            f"{MAX_MEMBERS}."
        )
    files = [entry for entry in entries if entry.filename and not entry.filename.endswith("/")]
    counts: dict[str, int] = {}
    for entry in files:
        name = as_compared(entry.filename)
        counts[name] = counts.get(name, 0) + 1
    return [_member(entry, counts[as_compared(entry.filename)] > 1) for entry in files]


def find_members(members: Sequence[Member], wanted: Sequence[str]) -> list[Member]:
    """The members of these names, in the order of the zip file's list, each once.

    Args:
        wanted: whole names, or their last parts ("fold_0/plans.pkl") if only one member ends so; the name of
            a folder, or its last parts, stands for all files in it.

    Raises:
        DownloadError: a name fits no member, or members of several folders; the message has some that there
            are.
        DownloadIntegrityError, UnsafePathError: a member is encrypted, there twice, a link, absurdly large,
            or compressed in a way that is not known here.
    """
    found: dict[str, Member] = {}
    for name in wanted:
        for member in _named(members, name.strip("/")):
            if member.problem:
                kind = UnsafePathError if "link" in member.problem else DownloadIntegrityError
                raise kind(f"The member {shortened(member.name)!r} {member.problem}.")
            check_relative(member.name)
            found[member.name] = member
    return [member for member in members if member.name in found]


def fetch_member(
    remote: RemoteFile, member: Member, target: Path, *, progress: DownloadProgress | None = None
) -> str:
    """Download a member into a file, and return its SHA-256. The next call resumes an interrupted download.

    Args:
        progress: called with the bytes that have arrived and in all.

    Raises:
        DownloadError: the server did not deliver it.
        DownloadIntegrityError: its size or its CRC-32 is not that of the list; nothing of it is kept.
        DiskSpaceError, OutputError: the file cannot be written.
    """
    packed = target if member.is_stored else target.with_name(f"{target.name}.packed")
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not member.packed:
            packed.write_bytes(b"")
        elif not packed.is_file() or packed.stat().st_size != member.packed:
            span = remote.span(data_start(remote, member), member.packed)
            patience = remote.patience
            download([remote.url], packed, sha256=None, span=span, progress=progress, patience=patience)
        try:
            if member.is_stored:
                return _verified(_blocks(packed), member, None)
            with replacing(target) as temporary:
                digest = _verified(_inflated(packed, member), member, temporary)
        except DownloadIntegrityError:
            packed.unlink(missing_ok=True)
            raise
        packed.unlink(missing_ok=True)
        return digest


def _member(entry: zipfile.ZipInfo, is_twice: bool) -> Member:
    is_stored = entry.compress_type == zipfile.ZIP_STORED
    kind = stat.S_IFMT(entry.external_attr >> 16)
    problem = ""
    if kind not in (0, stat.S_IFREG):
        problem = "is a link or a device, not a file"
    elif is_twice:
        problem = "is there twice, so it is unclear which one is meant"
    elif entry.flag_bits & _ENCRYPTED:
        problem = "is encrypted"
    elif not is_stored and entry.compress_type != zipfile.ZIP_DEFLATED:
        problem = f"is compressed by method {entry.compress_type}, which is not known here"
    elif max(entry.file_size, entry.compress_size) > LARGEST_BYTES:
        problem = f"has {entry.file_size} bytes, and no file of a model has more than {LARGEST_BYTES}"
    elif is_stored and entry.file_size != entry.compress_size:
        problem = f"has {entry.file_size} bytes, but {entry.compress_size} in the zip file"
    elif entry.file_size > max(SMALL_BYTES, MAX_RATIO * entry.compress_size):
        problem = f"claims to have {entry.file_size} bytes in {entry.compress_size}, which no model does"
    return Member(
        entry.filename,
        entry.file_size,
        entry.compress_size,
        entry.CRC,
        is_stored,
        entry.header_offset,
        problem,
    )


def _named(members: Sequence[Member], name: str) -> list[Member]:
    """The only member, or the files of the only folder, of this name or with these last parts of it."""
    parts = PurePosixPath(name).parts
    places: dict[tuple[str, ...], list[Member]] = {}
    for member in members:
        theirs = PurePosixPath(member.name).parts
        for end in range(len(parts), len(theirs) + 1) if parts else ():
            if theirs[end - len(parts) : end] == parts:
                places.setdefault(theirs[:end], []).append(member)
    if parts in places:
        return places[parts]
    if len(places) == 1:
        return next(iter(places.values()))
    if places:
        listed = ", ".join("/".join(place) for place in sorted(places)[:_MOST_LISTED])
        raise DownloadError(f"{shortened(name)!r} fits {len(places)} places ({listed}): give the whole name.")
    listed = ", ".join(member.name for member in members[:_MOST_LISTED])
    raise DownloadError(
        f"The zip file has no member {shortened(name)!r}. It has {len(members)} files: {listed}, ... See all "
        "of them with --list."
    )


def data_start(remote: RemoteFile, member: Member) -> int:
    """The position of a member's first byte, behind its own header, which has to agree with the list."""
    header = remote.read(member.header, min(_LOCAL_HEADER.size, remote.size - member.header))
    if len(header) == _LOCAL_HEADER.size and header.startswith(_LOCAL_SIGNATURE):
        _, _, flags, method, *_, names, extras = _LOCAL_HEADER.unpack(header)
        is_stored = method == zipfile.ZIP_STORED
        if is_stored == member.is_stored and not flags & _ENCRYPTED:
            return member.header + _LOCAL_HEADER.size + names + extras
    raise DownloadIntegrityError(
        f"{shown_address(remote.url)} is damaged: where its list has {shortened(member.name)!r} there is no "
        "such member. Report this to its publisher."
    )


def _verified(blocks: Iterator[bytes], member: Member, copy: Path | None) -> str:
    """The SHA-256 of a member's content, which has to have the size and the CRC-32 of the list."""
    digest, crc, size = hashlib.sha256(), 0, 0
    file = copy.open("wb") if copy else None
    try:
        for block in blocks:
            size += len(block)
            if size > member.size:
                break
            crc = zlib.crc32(block, crc)
            digest.update(block)
            if file:
                file.write(block)
    except zlib.error as error:
        raise _wrong(member, f"it cannot be unpacked: {error}") from error
    finally:
        if file:
            file.close()
    if size != member.size:
        raise _wrong(
            member, f"it has {'more' if size > member.size else 'less'} than its {member.size} bytes"
        )
    if crc != member.crc:
        raise _wrong(member, f"its CRC-32 is {crc:08x}, and the list has {member.crc:08x}")
    return digest.hexdigest()


def _wrong(member: Member, reason: str) -> DownloadIntegrityError:
    return DownloadIntegrityError(
        f"{shortened(member.name)!r} did not arrive as the zip file's list describes it: {reason}. Download "
        "it again; if that does not help, report this to its publisher."
    )


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _inflated(path: Path, member: Member) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in _blocks(path):
        rest = packed
        while rest and not inflater.eof:
            yield inflater.decompress(rest, _BLOCK_BYTES)
            rest = inflater.unconsumed_tail
    yield inflater.flush() if inflater.eof else b""
