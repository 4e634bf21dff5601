"""The viewer niivue: fetched once from the npm registry, verified, and kept beside the models.

Source: https://github.com/niivue/niivue (BSD-2-Clause).
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from ..errors import DownloadIntegrityError, UnreadableImageError
from ..library.download.partial import sha256_of
from ..library.download.resumable import download
from ..library.folder_locations import models_folder

__all__ = ["ADDRESS", "viewer_script"]

VERSION = "0.69.0"
ADDRESS = f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz"
SHA256 = "6e9a6a471b428eb3b258a0086beca9187d95e43a781a39e8a519c6da246af485"
SIZE = 6_809_390
_SCRIPT = "package/dist/index.js"
_MOST_BYTES = 2**25


def viewer_script(archive: Path | None = None) -> bytes:
    """niivue's module for browsers.

    Args:
        archive: the file of `ADDRESS`, for computers without a network; else it is fetched at the first call.

    Raises:
        DownloadError, DownloadIntegrityError, DiskSpaceError, OutputError: as `download`.
        DownloadIntegrityError: `archive` is another file.
        UnreadableImageError: `archive` cannot be read.
    """
    if archive is None:
        kept = models_folder() / ".viewer" / f"niivue-{VERSION}.tgz"
        archive = download([ADDRESS], kept, sha256=SHA256, size=SIZE)
    try:
        if sha256_of(archive) != SHA256:
            raise DownloadIntegrityError(f"{archive} is not the file of {ADDRESS}: fetch it again.")
        with tarfile.open(archive) as packed:
            script = packed.extractfile(_SCRIPT)
            return script.read(_MOST_BYTES) if script else b""
    except OSError as error:
        raise UnreadableImageError(f"{archive} cannot be read ({error.strerror}): check the path.") from error
