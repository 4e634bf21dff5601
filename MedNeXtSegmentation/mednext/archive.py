"""Zip files from strangers, unpacked only inside their folder; and zip files for strangers."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from .atomic import replacing
from .cancellation import check_cancelled
from .errors import BundleFormatError, DiskSpaceError, UnsafePathError
from .paths import inside

MAX_FILES = 1000
MAX_UNPACKED_BYTES = 16 * 2**30  # five folds of MedNeXt-L with 32 bits have 1.3 GiB
MAX_RATIO = 100  # weights hardly shrink; a zip bomb unpacks to a thousand times its size and more
SMALL_BYTES = 64 * 2**20  # below this no ratio is suspicious

_MIB = 2**20
_BLOCK_BYTES = 2**20
# In names on Windows; ":" opens streams there.
_FORBIDDEN = set('<>:"|?*') | {chr(code) for code in range(32)}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date of the format: the same bundle gives the same zip


def unpack(archive: Path, folder: Path, cancelled: Callable[[], bool] | None = None) -> None:
    """Unpack a zip file into an empty folder.

    On any error what was unpacked so far is left to the caller, who is to remove the folder.

    Raises:
        BundleFormatError: not a zip file, or a damaged, encrypted or absurd one.
        UnsafePathError: a member is a link, leaves the folder, or has a name that some platform cannot have.
        DiskSpaceError: the content needs more space than there is.
        Cancelled: `cancelled` answered True.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = _checked_members(source, archive, folder)
            for member in members:
                _extract(source, member, inside(folder, member.filename), cancelled)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise BundleFormatError(
            f"{archive} is not a zip file, or a damaged one ({error}). Download or export it again."
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # zipfile's answers to unknown methods and passwords
        raise BundleFormatError(
            f"{archive} cannot be unpacked: {error}. Pack it again, without a password."
        ) from error
    except FileNotFoundError as error:
        raise BundleFormatError(f"There is no file {archive}. Check the path.") from error
    except OSError as error:
        if error.errno not in (None, errno.ENAMETOOLONG):
            raise
        # bz2's answer to damaged data has no number.
        raise BundleFormatError(
            f"{archive} cannot be unpacked: {error.strerror or error}. Download or export it again."
        ) from error


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


def _checked_members(source: zipfile.ZipFile, archive: Path, folder: Path) -> list[zipfile.ZipInfo]:
    """The files to be unpacked; the list is refused as a whole before anything is written."""
    members = [member for member in source.infolist() if not member.is_dir() and not _is_clutter(member)]
    if len(members) > MAX_FILES:
        raise BundleFormatError(f"{archive} has {len(members)} files; a model has at most {MAX_FILES}.")
    names = [member.filename.casefold() for member in members]  # as Windows and macOS compare them
    for member, name in zip(members, names, strict=True):
        inside(folder, member.filename)
        _check_kind(member, archive)
        if names.count(name) > 1:
            raise BundleFormatError(f"{archive} has the file {member.filename!r} twice. Pack it again.")
        if any(parent.as_posix() in names for parent in PurePosixPath(name).parents):
            raise BundleFormatError(f"{archive} has {member.filename!r} below a file. Pack it again.")
    size = sum(member.file_size for member in members)
    packed = archive.stat().st_size
    if size > MAX_UNPACKED_BYTES or size > max(SMALL_BYTES, MAX_RATIO * packed):
        raise BundleFormatError(
            f"{archive} has {packed / _MIB:.1f} MiB, but claims to hold {size / _MIB:.0f} MiB, which no "
            "model does. Do not use it: get the model from a source you trust."
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DiskSpaceError(
            f"Unpacking {archive} needs {size / _MIB:.0f} MiB, but the disk of {folder} has "
            f"{free / _MIB:.0f} MiB free. Free some space, or choose another folder."
        )
    return members


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    """What a Mac adds when a person packs a folder."""
    return member.filename.startswith("__MACOSX/") or member.filename.rpartition("/")[2] == ".DS_Store"


def _check_kind(member: zipfile.ZipInfo, archive: Path) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise UnsafePathError(
            f"{archive}: {member.filename!r} is a link or a device, not a file. Do not use this model: get "
            "it from a source you trust."
        )
    if _FORBIDDEN & set(member.filename) or any(
        part.endswith((".", " ")) for part in member.filename.split("/")
    ):
        raise UnsafePathError(
            f"{archive}: {member.filename!r} is not a file name on every platform. "
            "Rename the file and pack again."
        )


def _extract(
    source: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, cancelled: Callable[[], bool] | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source.open(member) as data, path.open("xb") as file:
        while block := data.read(_BLOCK_BYTES):
            check_cancelled(cancelled)
            written += len(block)
            if written > member.file_size:
                raise zipfile.BadZipFile(f"{member.filename} is larger than it claims")
            file.write(block)
    if written != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename} is smaller than it claims")
