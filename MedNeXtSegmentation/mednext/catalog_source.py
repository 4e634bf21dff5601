"""Which catalog is in use: the one that ships with the program, or the one at `$MEDNEXT_CATALOG_URL`."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from .atomic import replacing
from .catalog import Catalog, read_catalog
from .errors import Cancelled, CatalogError, DiskSpaceError, DownloadError, OutputError
from .resources import models_folder, shipped_models_folder

logger = logging.getLogger(__name__)

URL_VARIABLE = "MEDNEXT_CATALOG_URL"

_LARGEST_BYTES = 16 * 2**20
SILENCE_S = 5.0
_LONGEST_S = 20.0


def load_catalog(refresh: bool = False) -> Catalog:
    """The catalog in use.

    Without `$MEDNEXT_CATALOG_URL` that is the shipped one. With it, it is the one from there as it was last
    downloaded; `refresh` downloads it now, for 20 s at most. A catalog that cannot be had, or is wrong, is
    logged and the next best one taken: the last downloaded, then the shipped.

    Raises:
        CatalogError: the shipped catalog is damaged.
    """
    url = os.environ.get(URL_VARIABLE)
    if url:
        copy = _copy_of(url)
        if refresh:
            _refresh(url, copy)
        if copy.is_file():
            try:
                return read_catalog(copy)
            except CatalogError as error:
                logger.warning("The downloaded catalog is of no use, taking the shipped one: %s", error)
    return read_catalog(shipped_models_folder() / "catalog.json")


def _copy_of(url: str) -> Path:
    return models_folder() / f".catalog-{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def _refresh(url: str, copy: Path) -> None:
    try:
        content = _fetch(url)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy) as temporary:
            temporary.write_bytes(content)
            read_catalog(temporary)
    except (CatalogError, DownloadError, DiskSpaceError, OutputError, OSError) as error:
        kept = "the one downloaded before" if copy.is_file() else "the shipped one"
        logger.warning("The catalog at %s cannot be had (%s); using %s.", url, error, kept)


def _fetch(url: str) -> bytes:
    # Here and not above: reading a catalog needs no network, and Slicer does it when it shows the panel.
    import requests

    from .download import HttpStream

    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError("only http and https addresses can be downloaded")
    end = time.monotonic() + _LONGEST_S
    content = b""
    try:
        with HttpStream(
            url, connect_s=SILENCE_S, read_s=SILENCE_S, cancelled=lambda: time.monotonic() > end
        ) as stream:
            stream.response.raise_for_status()
            for chunk in stream.chunks():
                content += chunk
                if len(content) > _LARGEST_BYTES:
                    raise DownloadError(f"it is larger than {_LARGEST_BYTES} bytes")
    except Cancelled as error:
        raise DownloadError(f"it did not arrive within {_LONGEST_S:g} s") from error
    except requests.RequestException as error:
        raise DownloadError(str(error)) from error
    return content
