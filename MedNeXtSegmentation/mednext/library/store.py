"""List, install, export and remove the models on this computer.

A model is a bundle folder (see `bundle.py`). The default one ships with the program and is read-only; the
others lie in the user's models folder, each in a sub-folder with the name of the model.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import (
    AlreadyInstalledError,
    BundleError,
    BundleFormatError,
    OptionError,
    OutputError,
    UnknownModelError,
    WeightsUnavailableError,
)
from ..model.bundle import Bundle
from ..model.description import NAME_FORM, Model
from ..model.model_file import MODEL_FILE, read_model
from ..model.weights_file import unreadable
from ..system.atomic import check_space, replacing_folder
from ..system.file_names import inside, is_device
from .archive import pack, unpack
from .catalog import Catalog
from .catalog_source import load_catalog
from .folder_locations import models_folder, shipped_models_folder
from .kept_downloads import downloads_folder, forget_old_downloads
from .shared_models_folder import exclusive_models_folder, models_in, staging_folder

if TYPE_CHECKING:
    from .download import DownloadProgress, Patience

__all__ = [
    "check_name",
    "downloaded_bytes",
    "export_zip",
    "find_model",
    "install_from_folder",
    "install_from_url",
    "install_from_zip",
    "install_published",
    "installed_models",
    "installed_names",
    "is_shipped",
    "models_folder",
    "remove",
]

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 2**20


def check_name(name: str) -> str:
    """Return `name` if it can be the name of a model, and so of a folder on every platform.

    Raises:
        OptionError: it cannot.
    """
    if re.fullmatch(NAME_FORM, name) and not is_device(name):
        return name
    raise OptionError(
        f"{name!r} cannot be the name of a model. Use 1 to 64 letters, digits, dots, hyphens and "
        "underscores, starting with a letter or a digit."
    )


def is_shipped(name: str) -> bool:
    """True if the model comes with the program."""
    return name in models_in(shipped_models_folder())


def installed_names() -> list[str]:
    """Names of the models that can be used now, the shipped ones first."""
    return list({**models_in(shipped_models_folder()), **models_in(models_folder())})


def installed_models() -> list[Model]:
    """Descriptions of the models that can be used now; a damaged one is logged and skipped."""
    models = []
    for name in installed_names():
        try:
            models.append(read_model(find_model(name)))
        except BundleError as error:
            logger.warning("The installed model %r cannot be used: %s", name, error)
    return models


def find_model(name: str) -> Path:
    """Folder of the installed model `name`: shipped with the program, or in the models folder.

    Raises:
        WeightsUnavailableError: it is a task without published weights.
        UnknownModelError: it is not installed; the message lists the models that are, and those that can be.
    """
    for folder in (shipped_models_folder(), models_folder()):
        if place := models_in(folder).get(name):
            return place
    catalog = load_catalog()
    published = catalog.model(name)
    if published is None:
        raise _unknown(name, catalog)
    if not published.can_be_fetched:
        raise UnknownModelError(
            f"The model {name!r} comes with the program, but is missing: reinstall the program. {_here()}"
        )
    raise UnknownModelError(
        f"The model {name!r} is not installed. Install it with 'mednext models install {name}'. {_here()}"
    )


def install_published(
    name: str,
    *,
    overwrite: bool = False,
    progress: DownloadProgress | None = None,
    patience: Patience | None = None,
) -> Model:
    """Download a model of the catalog and install it; arguments and errors as for `install_from_url`.

    Raises:
        UnknownModelError, WeightsUnavailableError: the catalog has no model of this name.
        OptionError: the model ships with the program.
    """
    catalog = load_catalog(refresh=True)
    published = catalog.model(name)
    if published is None:
        raise _unknown(name, catalog)
    if published.elsewhere is not None:
        raise OptionError(
            f"The model {name!r} lies elsewhere, in another form: use "
            "mednext.checkpoints.remote.catalogued.install_elsewhere, or 'mednext models install'."
        )
    if published.download is None:
        raise OptionError(f"The model {name!r} comes with the program; there is nothing to install.")
    return install_from_url(
        published.download.urls,
        sha256=published.download.sha256,
        size=published.download.bytes,
        name=name,
        overwrite=overwrite,
        progress=progress,
        patience=patience,
    )


def install_from_url(
    urls: Sequence[str],
    *,
    sha256: str,
    size: int | None = None,
    name: str | None = None,
    overwrite: bool = False,
    progress: DownloadProgress | None = None,
    patience: Patience | None = None,
) -> Model:
    """Download the zip of a bundle and install it. The next call resumes an interrupted download.

    Args:
        urls, sha256, size, progress, patience: see `download`.
        name: expected name of the model.
        overwrite: replace an installed model of this name.

    Raises:
        DownloadError, DiskSpaceError, OutputError: see `download`.
        BundleError: the downloaded file is not a sound bundle, or not the model of this name.
        OptionError: a model of this name is installed, or `sha256` is malformed.
    """
    from .download import download  # slow to import, and not needed to list models

    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise OptionError(f"{sha256!r} is not a SHA-256: give the 64 hexadecimal digits of the publisher.")
    if name is not None:
        refuse_taken(check_name(name), overwrite)
    zip_file = _download_file(sha256)
    download(urls, zip_file, sha256=sha256, size=size, progress=progress, patience=patience)
    try:
        model = install_from_zip(zip_file, name=name, overwrite=overwrite)
    except BundleError:
        zip_file.unlink(missing_ok=True)
        raise
    zip_file.unlink(missing_ok=True)
    forget_old_downloads()
    return model


def downloaded_bytes(sha256: str) -> int:
    """The number of bytes that an interrupted download of this SHA-256 has kept."""
    from .download import part_file

    part = part_file(_download_file(sha256))
    return part.stat().st_size if part.is_file() else 0


def _download_file(sha256: str) -> Path:
    return downloads_folder() / f"{sha256[:16].lower()}.zip"


def install_from_zip(zip_file: str | Path, *, name: str | None = None, overwrite: bool = False) -> Model:
    """Install the bundle in a zip file, with its files at the top or in one folder.

    It is unpacked beside the installed models, its weights are verified, and then it is moved into place.

    Raises:
        BundleError: not a sound bundle, an unsafe one, or not the model of this name.
        AlreadyInstalledError: a model of this name is installed, and `overwrite` is not set.
        OptionError: the model of this name comes with the program.
        DiskSpaceError, OutputError: the models folder is full or cannot be written.
    """
    with staging_folder() as unpacked:
        unpack(Path(zip_file), unpacked)
        bundle = _verified(_bundle_in(unpacked, Path(zip_file)))
        if name is not None and bundle.model.name != name:
            raise BundleFormatError(
                f"{zip_file} holds the model {bundle.model.name!r}, not {name!r}. "
                "Report this to its publisher."
            )
        return _put_in_place(bundle, overwrite)


def install_from_folder(folder: str | Path, *, overwrite: bool = False) -> Model:
    """Install a copy of the bundle in a folder; arguments and errors as for `install_from_zip`."""
    source = Path(folder)
    model = read_model(source)
    names = dict.fromkeys((MODEL_FILE, *(fold.file for fold in model.folds)))
    paths = [path for path in (inside(source, name) for name in names) if path.is_file()]
    with staging_folder() as copied:
        check_space(copied, sum(path.stat().st_size for path in paths), f"Copying {source}")
        for path in paths:  # the check below names a missing one
            _copy(path, copied / path.name)
        return _put_in_place(_verified(copied), overwrite)


def _copy(path: Path, target: Path) -> None:
    try:
        source = path.open("rb")
    except OSError as cause:
        raise unreadable(path, cause) from cause
    with source, target.open("xb") as sink:
        shutil.copyfileobj(source, sink, _BLOCK_BYTES)


def _put_in_place(bundle: Bundle, overwrite: bool) -> Model:
    """Move a verified bundle from the staging folder to the installed models."""
    name = check_name(bundle.model.name)
    with exclusive_models_folder() as folder:
        refuse_taken(name, overwrite)
        with replacing_folder(folder / name) as temporary:
            for path in bundle.path.iterdir():
                path.rename(temporary / path.name)
    logger.info("Installed the model %s in %s.", name, folder)
    return bundle.model


def export_zip(name: str, zip_file: str | Path, *, overwrite: bool = False) -> Path:
    """Pack an installed model into a zip file for `install_from_zip` on another computer.

    Raises:
        UnknownModelError: no such model is installed.
        BundleError: the installed model is damaged.
        OutputError, DiskSpaceError: the file exists already, or cannot be written.
    """
    folder, zip_file = find_model(name), Path(zip_file)
    if zip_file.exists() and not overwrite:
        raise OutputError(f"{zip_file} exists already. Choose another name, or allow to overwrite it.")
    _verified(folder)
    pack(folder, zip_file)
    return zip_file


def remove(name: str) -> None:
    """Remove an installed model.

    Raises:
        OptionError: the model ships with the program.
        UnknownModelError: no such model is installed.
        OutputError: the folder cannot be removed.
    """
    if is_shipped(name):
        raise OptionError(f"The model {name!r} comes with the program and cannot be removed.")
    find_model(name)
    with exclusive_models_folder(), staging_folder() as away:
        find_model(name).rename(away / name)  # no other process finds a half-removed model


def _here() -> str:
    return f"Installed models: {', '.join(installed_names()) or 'none'}."


def _unknown(name: str, catalog: Catalog) -> UnknownModelError:
    """The error for a name that is no model of the catalog, with the names that are."""
    task = catalog.task(name)
    if task is None:
        known = ", ".join(task.name for task in catalog.tasks)
        return UnknownModelError(f"There is no model {name!r}. {_here()} Known tasks: {known}.")
    published = ", ".join(model.name for model in catalog.models_for(task.name))
    if published:
        return UnknownModelError(f"{name!r} is a task; its models are {published}. {_here()}")
    similar = f" Models of others for similar tasks: {', '.join(task.see)}." if task.see else ""
    return WeightsUnavailableError(
        f"There are no weights for the task {task.name!r}. {task.weights}{similar} {_here()}"
    )


def refuse_taken(name: str, overwrite: bool) -> None:
    if is_shipped(name):
        raise OptionError(f"The model {name!r} comes with the program and cannot be replaced. Rename yours.")
    if not overwrite and name in models_in(models_folder()):
        raise AlreadyInstalledError(
            f"A model {name!r} is installed already, in {models_folder()}. Remove it, or allow "
            "to overwrite it."
        )


def _bundle_in(folder: Path, zip_file: Path) -> Path:
    """The folder of the bundle in an unpacked zip: the top, or the only folder in it."""
    for candidate in (folder, *sorted(folder.iterdir())):
        if (candidate / MODEL_FILE).is_file():
            return candidate
    raise BundleFormatError(
        f"{zip_file} is not a model: it has no {MODEL_FILE}. Export the model again, with "
        "'mednext models export'."
    )


def _verified(folder: Path) -> Bundle:
    """The bundle in a folder, with its files verified."""
    bundle = Bundle(folder, read_model(folder))
    bundle.check()
    return bundle
