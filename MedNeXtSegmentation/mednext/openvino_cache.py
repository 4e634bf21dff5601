"""Where networks are kept that were converted for OpenVINO; known without torch and without OpenVINO.

A conversion is a folder in the user's cache, whose name begins with the SHA-256 of the model's file of
weights, so that it goes when the model is removed. Others, of another version of OpenVINO or of weights that
are no longer anywhere, go when nobody has used them for long.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MODEL_FILE = "model.xml"

_FILES = (MODEL_FILE, "model.bin")
_DIGESTS_FILE = "sha256.txt"
_UNUSED_S = 60 * 86400.0
_DIGITS = 16  # of a SHA-256

logger = logging.getLogger(__name__)


def conversion_folder(weights_sha256: str, digest: str) -> Path:
    """The folder of one conversion, which need not exist.

    Args:
        weights_sha256: of the file of weights, or "" for weights from elsewhere.
        digest: SHA-256 of everything that the conversion depends on.
    """
    return _cache() / f"{weights_sha256[:_DIGITS] or 'unknown'}-{digest[: 2 * _DIGITS]}"


def seal(folder: Path) -> None:
    """Write down what a conversion consists of, so that `is_whole` can tell."""
    (folder / _DIGESTS_FILE).write_text(_digests(folder), encoding="ascii")


def is_whole(folder: Path) -> bool:
    """Whether a conversion is there and as it was written. One that is used stays for longer."""
    try:
        whole = (folder / _DIGESTS_FILE).read_text(encoding="utf-8") == _digests(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        logger.warning("The conversion in %s cannot be used: %s", folder, error)
        return False
    if not whole:
        logger.warning("The conversion in %s is damaged.", folder)
        return False
    with suppress(OSError):  # somebody else's cache can be read all the same
        os.utime(folder / _DIGESTS_FILE)
    return True


def forget(weights_sha256: Iterable[str]) -> None:
    """Remove what was converted of these files of weights."""
    for sha256 in weights_sha256:
        for folder in _cache().glob(f"{sha256[:_DIGITS]}-*"):
            shutil.rmtree(folder, ignore_errors=True)


def remove_unused() -> None:
    """Remove conversions that nobody has used for two months, and what killed processes have left."""
    for folder in _folders():
        last = folder / _DIGESTS_FILE
        with suppress(OSError):
            if time.time() - (last if last.is_file() else folder).stat().st_mtime > _UNUSED_S:
                shutil.rmtree(folder, ignore_errors=True)


def _folders() -> Iterator[Path]:
    with suppress(OSError):  # there is none yet
        yield from _cache().iterdir()


def _digests(folder: Path) -> str:
    lines = []
    for name in _FILES:
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mednext" / "openvino"
