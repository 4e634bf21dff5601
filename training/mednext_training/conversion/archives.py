"""Data sets as they are downloaded: zip and tar files, unpacked beside the data set that is made of them."""

from __future__ import annotations

import errno
import logging
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mednext.errors import MedNeXtError, UnreadableImageError, UnsafePathError
from mednext.system.atomic import UNFINISHED, check_space, explaining
from mednext.system.running_processes import signature

logger = logging.getLogger(__name__)

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_NAMES_REFUSED = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)
_MAX_BYTES = 16 * 2**20  # of a description
_MEMBERS = 1_000_000  # BraTS 2021 has 7,500 files, a data set of DICOM slices a hundred thousand


@contextmanager
def unpacked(source: Path, beside: Path, is_whole: Callable[[Path], bool]) -> Iterator[dict[Path, Path]]:
    """Yield the folders to search for cases, each with the folder or the archive whose content it has.

    Args:
        source: a folder, in which archives may lie, or one archive.
        is_whole: tells whether a folder holds cases already, beside the archives that they came in.
        beside: an existing folder; archives are unpacked there, and removed at the end.

    Raises:
        UnreadableImageError: there is no such file or folder, or an archive is damaged or needs a password.
        UnsafePathError: a member of an archive is a link or leads out of its folder.
        DiskSpaceError: there is not enough space.
    """
    if source.is_dir():
        archives = archives_in(source)
        archives = [] if archives and is_whole(source) else archives
        folders = [source]
    elif is_archive(source):
        archives, folders = [source], []
    else:
        raise UnreadableImageError(
            f"{source} is no folder and no archive ({', '.join(SUFFIXES)}): give the data set's folder, or "
            "the file as it was downloaded."
        )
    origins = {folder: folder for folder in folders}
    with ExitStack() as stack:
        for archive in archives:
            prefix = f"{UNFINISHED}{signature()}-"
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=beside)))
            logger.info("Unpacking %s", archive)
            with explaining(folder / "data"):
                _unpack(archive, folder)
            origins[folder] = archive
        for folder, origin in origins.items():
            _tell_of_packed(folder, origin, archives)
        yield origins


def _tell_of_packed(folder: Path, origin: Path, unpacked: Sequence[Path]) -> None:
    """Warn of archives that nobody looks into: of those beside cases, and of those deeper down."""
    for path in sorted(folder.rglob("*")):
        if is_archive(path) and path not in unpacked:
            logger.warning(
                "%s is not unpacked: if it holds other cases, unpack it, or give it as a source.",
                origin / path.relative_to(folder),
            )


def is_archive(path: Path) -> bool:
    """Whether a file is named as an archive that can be unpacked."""
    name = path.name.lower()
    return path.is_file() and name.endswith(SUFFIXES) and not name.startswith(".")


def archives_in(folder: Path) -> list[Path]:
    """The archives that lie in a folder, not deeper."""
    return [each for each in sorted(folder.iterdir()) if is_archive(each)]


def without_archive_suffix(name: str) -> str:
    """The name of an archive without its suffix."""
    suffix = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(suffix)]


def read_members(archive: Path, is_read: Callable[[str], bool]) -> tuple[list[str], dict[str, bytes]]:
    """The names of all files in an archive, with "/", and the contents of small ones by name.

    Args:
        is_read: tells by its name whether a file's content is wanted.

    Raises:
        UnreadableImageError: the archive is damaged or needs a password, or a wanted file is above 16 MiB.
    """
    with _explaining_damage(archive):
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                every = [each for each in packed.infolist() if _is_wanted(each.filename)]
                return _read_wanted(
                    archive,
                    [(each.filename, each.file_size, partial(packed.open, each)) for each in every],
                    is_read,
                )
        with tarfile.open(archive) as tar:
            members = [each for each in tar if each.isreg() and _is_wanted(each.name)]
            return _read_wanted(
                archive, [(each.name, each.size, partial(tar.extractfile, each)) for each in members], is_read
            )


def _read_wanted(
    archive: Path, members: Sequence[tuple[str, int, Callable[[], Any]]], is_read: Callable[[str], bool]
) -> tuple[list[str], dict[str, bytes]]:
    names = [name.replace("\\", "/").removeprefix("./") for name, _, _ in members]
    contents = {}
    for name, (_, size, opened) in zip(names, members, strict=True):
        if is_read(name):
            if size > _MAX_BYTES:
                raise UnreadableImageError(
                    f"{archive / name} has {size} bytes, too many: unpack the archive."
                )
            with opened() as file:
                contents[name] = file.read(_MAX_BYTES)
    return names, contents


def _unpack(archive: Path, folder: Path) -> None:
    with _explaining_damage(archive):
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)


@contextmanager
def _explaining_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except MedNeXtError:
        raise
    except Exception as error:  # boundary: a damaged archive makes its readers raise anything
        if isinstance(error, OSError) and error.errno is not None:  # gzip, bz2 and lzma give no number
            raise
        logger.debug("Reading %s failed.", archive, exc_info=True)
        raise UnreadableImageError(
            f"{archive} cannot be unpacked ({str(error)[:200] or type(error).__name__}): download it again, "
            "and use no password."
        ) from error


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        members = [each for each in source.infolist() if _is_wanted(each.filename)]
        _check_size(archive, folder, len(members), sum(each.file_size for each in members))
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _unsafe(archive, member.filename)
            target = _inside(archive, folder, member.filename)
            with source.open(member) as data, _new_file(archive, target, member.filename) as file:
                shutil.copyfileobj(data, file, 2**20)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as source:  # compressed or not
        members = [each for each in source if not each.isdir() and _is_wanted(each.name)]
        _check_size(archive, folder, len(members), sum(each.size for each in members))
        for member in members:
            data = source.extractfile(member) if member.isreg() else None
            if data is None:
                raise _unsafe(archive, member.name)
            target = _inside(archive, folder, member.name)
            with data, _new_file(archive, target, member.name) as file:
                shutil.copyfileobj(data, file, 2**20)


def _check_size(archive: Path, folder: Path, members: int, size: int) -> None:
    if members > _MEMBERS:
        raise UnreadableImageError(
            f"{archive} has {members} files, which no data set has: get it from its owner."
        )
    check_space(folder, size, f"Unpacking {archive}")


def _inside(archive: Path, folder: Path, name: str) -> Path:
    """The place of a member."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0].startswith("/") or ".." in parts or any(":" in part for part in parts):
        raise _unsafe(archive, name)
    return folder.joinpath(*parts)


def _new_file(archive: Path, target: Path, name: str) -> BinaryIO:
    """The file of a member, opened, in folders that are made."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except OSError as error:
        if error.errno not in _NAMES_REFUSED:
            raise
        twice = error.errno == errno.EEXIST and error.filename == str(target)
        why = "is there twice" if twice else f"cannot be a file here ({error.strerror})"
        raise UnreadableImageError(
            f"{archive}: {name[:100]!r} {why}. Unpack the archive yourself, keep the right files, "
            "and give the folder."
        ) from error


def _is_wanted(name: str) -> bool:
    """False for a folder, which Windows may name with a backslash, and for a Mac's additions."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not name.endswith(("/", "\\")) and "__MACOSX" not in path.parts and not is_clutter(path.name)


def is_clutter(name: str) -> bool:
    """True for the name of a file that a Mac adds to folders."""
    return name.startswith("._") or name == ".DS_Store"


def _unsafe(archive: Path, name: str) -> UnsafePathError:
    return UnsafePathError(
        f"{archive}: {name[:100]!r} is no ordinary file below its folder. Unpack the archive yourself if you "
        "trust it, and give the folder."
    )
