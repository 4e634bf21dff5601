"""Unpack zip files from strangers, only inside their folder; pack zip files for others."""

from __future__ import annotations

import io
import logging
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import BundleFormatError, MedNeXtError, UnsafePathError
from ..system.atomic import check_space, explaining, replacing
from ..system.file_names import as_compared, check_regular, check_relative, inside, shortened

logger = logging.getLogger(__name__)

MAX_FILES = 1000
MAX_ENTRIES = 10 * MAX_FILES  # with folders, and with the copies that a Mac adds
MAX_DEPTH = 8  # of folders in each other
MAX_NAME_BYTES = 255  # of a file with its folders
MAX_UNPACKED_BYTES = 16 * 2**30  # five folds of MedNeXt-L with 32 bits have 1.3 GiB
MAX_RATIO = 100  # weights hardly shrink; a zip bomb unpacks to a thousand times its size and more
SMALL_BYTES = 64 * 2**20  # below this no ratio is suspicious

_MOST_WORDS = 300  # letters of an error of zipfile, which quotes names
_MIB = 2**20
_BLOCK_BYTES = 2**20
_LONGEST_LIST = 4 * 2**20  # bytes of the list of all entries, which is read at once
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date of the format: the same bundle gives the same zip


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file into an empty folder.

    After an error the caller removes the folder with the files unpacked so far.

    Raises:
        BundleFormatError: not a zip file, or a damaged, encrypted or absurd one.
        UnsafePathError: a member is a link, leaves the folder, or has a name that some platform cannot have.
        DiskSpaceError: the content needs more space than there is.
        OutputError: the folder cannot be written to.
    """
    try:
        check_regular(archive)
    except OSError as error:
        raise BundleFormatError(
            f"There is no file {archive}, or it cannot be read: {error.strerror}. Check the path."
        ) from error
    with explaining(folder / "model"), _open(archive) as source:
        with _reading(archive):
            members = _checked_members(source, archive)
        _check_size(members, archive, folder)
        for member in members:
            _extract(source, member, archive, inside(folder, member.filename))


def pack(folder: Path, archive: Path) -> None:
    """Write the regular files of `folder` into a zip file, atomically; the same files give the same bytes.

    Raises:
        OutputError, DiskSpaceError: the zip file cannot be written.
    """
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w") as target:
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.name.startswith("."):
                continue
            member = zipfile.ZipInfo(path.name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.file_size = path.stat().st_size  # tells zipfile whether the large format is needed
            with path.open("rb") as source, target.open(member, "w") as sink:
                shutil.copyfileobj(source, sink, _BLOCK_BYTES)


class _Limited(io.BufferedReader):
    """A file that refuses to read more at once than a sound list of members has."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LONGEST_LIST:
            raise BundleFormatError(
                f"{self.name} has a list of files of {size / _MIB:.0f} MiB, which no model has. "
                "Do not use it: get the model from a source you trust."
            )
        return super().read(size)


@contextmanager
def _open(archive: Path) -> Iterator[zipfile.ZipFile]:
    with _reading(archive):
        file = _Limited(io.FileIO(archive))
    with file:
        with _reading(archive):
            source = zipfile.ZipFile(file)
        with source:
            yield source


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn any error of a zip file into a `BundleFormatError`."""
    try:
        yield
    except MedNeXtError:
        raise
    except (NotImplementedError, RuntimeError) as error:  # zipfile's answers to unknown methods and passwords
        raise BundleFormatError(
            f"{archive} cannot be unpacked: {error}. Pack it again, without a password."
        ) from error
    except Exception as error:  # boundary: for a damaged file zipfile and zlib raise anything
        logger.info("Reading %s failed.", archive, exc_info=True)
        raise BundleFormatError(
            f"{archive} is not a zip file, or a damaged one ({str(error)[:_MOST_WORDS]}). Download or export "
            "it again."
        ) from error


def _checked_members(source: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """The files to unpack. Any bad member makes the whole archive refused, before anything is written."""
    entries = source.infolist()
    members = [member for member in entries if not member.is_dir() and not _is_clutter(member)]
    if len(members) > MAX_FILES or len(entries) > MAX_ENTRIES:
        raise BundleFormatError(
            f"{archive} has {len(members)} files and {len(entries) - len(members)} folders and the like; a "
            f"model has at most {MAX_FILES} files."
        )
    for member in members:
        _check_kind(member, archive)
        check_relative(member.filename)
    names = {_compared(member): member for member in members}
    for member in members:
        path = _compared(member)
        if names[path] is not member:
            raise BundleFormatError(f"{archive} has the file {member.filename!r} twice. Pack it again.")
        if any(parent in names for parent in path.parents):
            raise BundleFormatError(f"{archive} has {member.filename!r} below a file. Pack it again.")
    return members


def _compared(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(as_compared(member.filename))


def _check_size(members: list[zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    size = sum(member.file_size for member in members)
    packed = archive.stat().st_size
    if size > MAX_UNPACKED_BYTES or size > max(SMALL_BYTES, MAX_RATIO * packed):
        raise BundleFormatError(
            f"{archive} has {packed / _MIB:.1f} MiB, but claims to hold {size / _MIB:.0f} MiB, which no "
            "model does. Do not use it: get the model from a source you trust."
        )
    check_space(folder, size, f"Unpacking {archive}")


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    """True for the files that a Mac adds to a packed folder."""
    return member.filename.startswith("__MACOSX/") or member.filename.rpartition("/")[2] == ".DS_Store"


def _check_kind(member: zipfile.ZipInfo, archive: Path) -> None:
    name = member.filename
    short = shortened(name)
    if name.count("/") > MAX_DEPTH:
        raise BundleFormatError(
            f"{archive}: {short!r} lies deeper than in {MAX_DEPTH} folders. Pack the model again."
        )
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise BundleFormatError(f"{archive} cannot be unpacked: File name too long ({short!r}).")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise UnsafePathError(
            f"{archive}: {short!r} is a link or a device, not a file. Do not use this model: get it from a "
            "source you trust."
        )


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for block in _blocks(source, member, archive):
            file.write(block)


def _blocks(source: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path) -> Iterator[bytes]:
    """The content of a member; errors of the caller, between blocks, do not pass through `_reading`."""
    with _reading(archive), source.open(member) as data:
        left = member.file_size
        while block := data.read(_BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{member.filename} is larger than it claims")
            yield block
        if left:
            raise zipfile.BadZipFile(f"{member.filename} is smaller than it claims")
