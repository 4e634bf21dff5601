"""Import checkpoints from addresses: members of a zip file on a server, or a file of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ...errors import CheckpointError, MedNeXtError
from ...library.import_memory import WEIGHTS_SUFFIXES
from ...library.kept_downloads import downloads_folder, kept_downloads
from ...library.remote_folder import (
    RemotePart,
    fetched_folder,
    parts_at_addresses,
    parts_of_zip,
    without_common_folder,
)
from ...library.store import check_name, refuse_taken
from ...model.description import Model
from ..import_options import ImportOptions
from ..import_report import ImportReport
from ..installing import Installing, install_checkpoint

if TYPE_CHECKING:
    from ...library.download.remote_zip import Member

# Small files that the import of a fold reads, in the fold's folder or the one above it.
_BESIDE_WEIGHTS = (
    "plans.pkl",
    "plans.json",
    "nnUNetPlans.json",
    "dataset.json",
    "postprocessing.json",
    "metadata.json",
)
_MIB = 2**20


def members_at(url: str) -> list[Member]:
    """All files in a zip file on a server; raises the errors of `remote_zip.list_members`."""
    from ...library.download.remote_file import RemoteFile
    from ...library.download.remote_zip import list_members

    return list_members(RemoteFile.at(url))


def install_from_address(
    url: str,
    members: Sequence[str],
    name: str,
    options: ImportOptions | None = None,
    how: Installing | None = None,
) -> tuple[Model, ImportReport]:
    """Download a checkpoint and install it as a model. The next call resumes an interrupted download.

    Args:
        url: address of https of a zip file, or of a file of weights if there are no members.
        members: names in the zip file, see `remote_zip.find_members`. With a file of weights come the plans
            and the like that lie beside it.

    Raises:
        DownloadError, DiskSpaceError, OutputError: see `fetched_folder`.
        UnsafePathError: a member is a link, or its name leaves the folder.
        OutOfMemoryError, CheckpointError, BundleError, OptionError: see `install_checkpoint`.
    """
    how = how or Installing()
    refuse_taken(check_name(name), how.overwrite)
    if members:
        parts = parts_of_zip(url, lambda there: _chosen(there, members), how.patience)
    else:
        parts = parts_at_addresses({_file_name(url): url}, how.patience)
    return install_parts(parts, name, options or ImportOptions(), how)


def install_parts(
    parts: Sequence[RemotePart],
    name: str,
    options: ImportOptions,
    how: Installing,
    beside: Callable[[Path], Mapping[str, str]] = lambda folder: {},
) -> tuple[Model, ImportReport]:
    """Download the parts of a results folder and install it; errors as above.

    Args:
        beside: gets the folder of the downloaded files, and returns the texts of files that are missing
            there, by their names.
    """
    known = [part.arriving for part in parts if part.arriving is not None]
    size = f" of {sum(known) / _MIB:.1f} MiB together" if len(known) == len(parts) else ""
    how.say(f"Downloading {len(parts)} file{'s' if len(parts) > 1 else ''}{size}.")
    fetched = fetched_folder(parts, accept_change=how.accept_change, progress=how.progress)
    with _saying_where(how.say), fetched as (folder, new):
        if new:
            how.say("First use: the SHA-256 of these files is not published. It is kept for later downloads.")
        for address, sha256 in new.items():
            how.say(f"  {sha256}  {address}")
        for file, text in beside(folder).items():
            (folder / file).write_text(text, encoding="utf-8")
        source = _source(folder, [folder / part.path for part in parts], options)
        return install_checkpoint(source, name, options, how)


@contextmanager
def _saying_where(say: Callable[[str], None]) -> Iterator[None]:
    """After an error say where the downloaded files are kept, and how to remove them."""
    try:
        yield
    except MedNeXtError:
        kept = sum(each.bytes for each in kept_downloads())
        if kept:
            say(
                f"{kept / _MIB:.1f} MiB of downloads are kept in {downloads_folder()}: the same command "
                "continues there, 'mednext models clean' removes them."
            )
        raise


def _chosen(there: Sequence[Member], wanted: Sequence[str]) -> Mapping[str, Member]:
    """The members to download, with the plans and the like beside files of weights, by their places."""
    from ...library.download.remote_zip import find_members

    found = {member.name for member in find_members(there, wanted)}
    beside = set()
    for weights in map(PurePosixPath, found):
        if weights.suffix in WEIGHTS_SUFFIXES:
            beside.add(f"{weights}.pkl")
            folders = (weights.parent, weights.parent.parent)
            beside |= {str(folder / file) for folder in folders for file in _BESIDE_WEIGHTS}
    names = sorted(found | {member.name for member in there if member.name in beside})
    chosen = {member.name: member for member in find_members(there, names)}
    return {path: chosen[name] for path, name in without_common_folder(names).items()}


def _source(folder: Path, paths: Sequence[Path], options: ImportOptions) -> Path:
    """The only file of weights, or the folder of several."""
    weights = [path for path in paths if path.suffix in WEIGHTS_SUFFIXES]
    return weights[0] if len(weights) == 1 and options.folds is None else folder


def _file_name(url: str) -> str:
    """The name of the file at an address."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if PurePosixPath(name).suffix not in WEIGHTS_SUFFIXES:
        raise CheckpointError(
            f"The address names no file of weights ({', '.join(WEIGHTS_SUFFIXES)}). For a zip file name the "
            "members to import with --member; --list shows them."
        )
    return name
