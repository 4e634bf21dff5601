"""Publish a model: its zip, the catalog's entry, and the proof that both work."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from mednext import load_bundle, read_channels, segment, write_segmentation
from mednext.errors import EngineProcessError, OptionError
from mednext.images.formats.image_files import read_image
from mednext.library.archive import pack
from mednext.library.catalog import read_catalog
from mednext.library.catalog_source import URL_VARIABLE
from mednext.library.folder_locations import shipped_models_folder
from mednext.library.store import is_shipped
from mednext.model.bundle import Bundle
from mednext.system.atomic import replacing
from mednext.system.json_reading import json_text, read_json

from .bundle_export import check_version

logger = logging.getLogger(__name__)

CATALOG = "catalog.json"
_PATIENCE_S = 3600.0


def publish(
    bundle: Bundle, folder: Path, base_url: str, images: Sequence[Path], catalog: Path | None = None
) -> Path:
    """Write a model's zip and a catalog with its entry, after both were tried from a server on this computer.

    Args:
        bundle: the model.
        folder: gets the zip, which is to be uploaded below `base_url`, and `catalog.json`.
        base_url: where the zip will be, such as the address of a release's assets.
        images: one file per channel, to segment with the installed model.
        catalog: to which the entry is added; the shipped one by default. It is not changed.

    Returns:
        The catalog that was written.

    Raises:
        OptionError: the model has a shipped one's name, or no licence, its task is none of the catalog's,
            or there is no image.
        CatalogError: the entry would not be accepted, such as for a text that is no address.
        EngineProcessError: the published model could not be installed, or segments differently.
        OutputError, DiskSpaceError: the files cannot be written.
    """
    model = bundle.model
    check_version(model.version)
    if is_shipped(model.name):
        raise OptionError(
            f"The model {model.name!r} comes with the program, and nobody could install another one of this "
            "name: export yours under another."
        )
    source = catalog or shipped_models_folder() / CATALOG
    if read_catalog(source).task(model.task) is None:
        raise OptionError(
            f"{model.name} is for {model.task!r}, which is no task of {source}. Train on a data set with a "
            "task, or share the model as a zip, which needs no catalog."
        )
    if not model.licence:
        raise OptionError(f"{model.name} has no licence: nobody may use it. Write it into model.json.")
    if len(images) != len(model.channels):
        raise OptionError(
            f"{model.name} needs {len(model.channels)} image(s) for a trial, not {len(images)}."
        )
    if not model.accuracy:
        logger.warning(
            "%s has no measured accuracy, and users are told so: measure it first, with 'mednext-train "
            "evaluate --record SOURCE'.",
            model.name,
        )
    bundle.check()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{model.name}-{model.version}.zip"
    pack(bundle.path, archive)
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=folder) as scratch:
        with _served(folder) as address:
            trial = _with_entry(source, Path(scratch) / CATALOG, _entry(bundle, archive, address))
            url = f"{address}/{Path(scratch).name}/{trial.name}"
            _try(bundle, url, images, Path(scratch))
        return _with_entry(source, folder / CATALOG, _entry(bundle, archive, base_url.rstrip("/")))


def _entry(bundle: Bundle, archive: Path, base_url: str) -> dict[str, Any]:
    """The catalog's entry of a model whose zip lies below an address."""
    model = bundle.model
    content = archive.read_bytes()
    download = {
        "urls": [f"{base_url}/{archive.name}"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    fields = {key: getattr(model, key) for key in ("name", "task", "title", "version", "licence")}
    return {**fields, "download": download}


def _with_entry(source: Path, target: Path, entry: dict[str, Any]) -> Path:
    """Write a catalog with one more entry, or another one of its name, and read both."""
    read_catalog(source)
    said = read_json(source, OptionError)
    said["models"] = [each for each in said["models"] if each["name"] != entry["name"]] + [entry]
    with replacing(target) as temporary:
        temporary.write_text(json_text(said) + "\n", encoding="utf-8")
        read_catalog(temporary)
    return target


def _try(bundle: Bundle, catalog_url: str, images: Sequence[Path], scratch: Path) -> None:
    """Install the model as a stranger would, and compare its result with that of the bundle."""
    models = scratch / "models"
    environment = os.environ | {URL_VARIABLE: catalog_url, "MEDNEXT_MODELS": str(models)}
    name, files = bundle.model.name, [str(image) for image in images]
    _run(["models", "install", name], environment)
    installed = load_bundle(models / name)
    if installed.model != bundle.model:
        raise EngineProcessError(f"{name} is another model once it is installed: publish it again.")
    found, expected = scratch / "found.nii.gz", scratch / "expected.nii.gz"
    _run(["segment", *files, "--model", name, "--no-mirror", "-o", str(found)], environment)
    write_segmentation(expected, segment(read_channels(images), bundle, mirroring=False))
    if not np.array_equal(read_image(found).array, read_image(expected).array):
        raise EngineProcessError(f"{name} segments differently once it is installed: publish it again.")
    logger.info("%s was installed from a server and segments as before", name)


def _run(words: Sequence[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "mednext", *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if done.returncode:
        raise EngineProcessError(
            f"'mednext {words[0]}' failed with the published model: {done.stderr.strip()[-1000:]}"
        )


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """No log of each access."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a folder, on a server of this computer alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
