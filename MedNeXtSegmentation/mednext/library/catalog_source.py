"""Load the catalog in use: the one that ships with the program, or the one at `$MEDNEXT_CATALOG_URL`."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import (
    Cancelled,
    CatalogError,
    DiskSpaceError,
    DownloadError,
    OutputError,
    UnknownModelError,
)
from ..system.atomic import replacing
from .catalog import Catalog, Task, read_catalog
from .folder_locations import models_folder, shipped_models_folder
from .web_address import check_address, is_private, shown_address

logger = logging.getLogger(__name__)

URL_VARIABLE = "MEDNEXT_CATALOG_URL"
HTTP_VARIABLE = "MEDNEXT_CATALOG_BY_HTTP"

_LARGEST_BYTES = 16 * 2**20
SILENCE_S = 5.0
_LONGEST_S = 20.0


def load_catalog(refresh: bool = False, remarks: list[str] | None = None) -> Catalog:
    """The catalog in use.

    Without `$MEDNEXT_CATALOG_URL` this is the shipped one. With it, it is the last download from there;
    `refresh` downloads it now, for 20 s at most. If the download fails or the catalog is wrong, a warning is
    logged and the next one used: the last download, then the shipped one. Warnings are also appended to
    `remarks`.

    The catalog decides which weights are trusted. It is therefore downloaded by https, or from this computer
    (`http://localhost`), and by http only if `$MEDNEXT_CATALOG_BY_HTTP` is 1, which is logged.

    Raises:
        CatalogError: the shipped catalog is damaged.
    """

    def tell(sentence: str) -> None:
        logger.warning("%s", sentence)
        if remarks is not None:
            remarks.append(sentence)

    url = os.environ.get(URL_VARIABLE, "").strip()
    if url:
        try:
            _check_source(url)
            if not is_private(url):
                tell(
                    f"The catalog comes by http from {shown_address(url)}: anybody on the way can change it, "
                    "and with it the weights."
                )
            copy = _copy_of(url)
            if refresh:
                _refresh(url, copy, tell)
            if _is_there(copy):
                return read_catalog(copy)
        except CatalogError as error:
            tell(f"The catalog of {URL_VARIABLE} is not used, but the shipped one: {error}")
    return read_catalog(shipped_models_folder() / "catalog.json")


def find_task(name: str) -> Task:
    """The task of this name in the catalog.

    Raises:
        UnknownModelError: there is none; the message lists the tasks.
    """
    catalog = load_catalog()
    task = catalog.task(name)
    if task is None:
        raise UnknownModelError(
            f"There is no task {name!r} in the catalog: choose one of "
            f"{', '.join(task.name for task in catalog.tasks)}, or name the labels yourself."
        )
    return task


def _by_http() -> bool:
    return os.environ.get(HTTP_VARIABLE, "").strip() == "1"


def _check_source(url: str) -> None:
    """Raise `CatalogError` for an address that no catalog may come from."""
    try:
        check_address(url)
    except ValueError as error:
        raise CatalogError(
            f"{shown_address(url)} cannot be downloaded: {error}. Give an address that begins with https://."
        ) from error
    if not is_private(url) and not _by_http():
        raise CatalogError(
            f"{shown_address(url)} is an address of http: anybody on the way can change the catalog, and "
            f"with it the weights. Give one of https, or set {HTTP_VARIABLE}=1 if you trust the network."
        )


def _copy_of(url: str) -> Path:
    source = f"http {url}" if _by_http() else url  # copies by http are not used once it is forbidden
    return models_folder() / f".catalog-{hashlib.sha256(source.encode()).hexdigest()[:16]}.json"


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a forbidden folder
        return False


def _refresh(url: str, copy: Path, tell: Callable[[str], None]) -> None:
    try:
        content = _fetch(url)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy) as temporary:
            temporary.write_bytes(content)
            read_catalog(temporary)
    except (CatalogError, DownloadError, DiskSpaceError, OutputError, OSError) as error:
        kept = "the one downloaded before" if _is_there(copy) else "the shipped one"
        tell(f"The catalog at {shown_address(url)} cannot be downloaded ({error}); using {kept}.")


def _fetch(url: str) -> bytes:
    # Imported here since Slicer reads the catalog, without the network, when it shows the panel.
    import requests

    from .download import HttpStream, reason_of, status_of

    end = time.monotonic() + _LONGEST_S
    content = bytearray()
    try:
        with HttpStream(
            url, connect_s=SILENCE_S, read_s=SILENCE_S, cancelled=lambda: time.monotonic() > end
        ) as stream:
            for answer in (*stream.response.history, stream.response):
                _check_source(answer.url)
            if stream.response.status_code != requests.codes.ok:
                raise DownloadError(status_of(stream.response))
            for chunk in stream.chunks():
                content += chunk
                if len(content) > _LARGEST_BYTES:
                    raise DownloadError(f"it is larger than {_LARGEST_BYTES} bytes")
    except Cancelled as error:
        raise DownloadError(f"it did not arrive within {_LONGEST_S:g} s") from error
    except requests.RequestException as error:
        raise DownloadError(reason_of(error)) from error
    return bytes(content)
