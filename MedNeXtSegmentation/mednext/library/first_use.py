"""Trust on first use: keep the SHA-256 of a download without a published one, and compare later ones with it.

The digests lie in `.first-use.json` in the models folder, one for each source.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DownloadIntegrityError
from ..system.atomic import explaining, replacing
from ..system.json_reading import Fields, json_text, read_json
from ..system.locks import locked
from .folder_locations import made_models_folder, models_folder
from .web_address import shown_address

LEDGER = ".first-use.json"

_VERSION = 1


def source_name(url: str, member: str = "") -> str:
    """The name under which the digest of a download is kept: its address, and its place in that zip file."""
    return f"{shown_address(url)}!/{member}" if member else shown_address(url)


def compare_or_keep(digests: Mapping[str, str], *, accept_change: bool = False) -> dict[str, str]:
    """Compare digests with those of the first use, or keep them where this is the first.

    Args:
        digests: the SHA-256 of each source.
        accept_change: keep new digests instead of refusing them.

    Returns:
        The digests of which this is the first use.

    Raises:
        DownloadIntegrityError: a source has other bytes than at its first use; the message has both digests,
            and nothing is kept. Or the file of digests is damaged.
        OutputError, DiskSpaceError: the file of digests cannot be written.
    """
    ledger = models_folder() / LEDGER
    with explaining(ledger):
        made_models_folder()
        with locked(ledger.with_name(f"{LEDGER}.lock")):
            kept = _read(ledger)
            for source, sha256 in digests.items():
                if not accept_change and source in kept and kept[source]["sha256"] != sha256:
                    raise _changed(source, kept[source], sha256)
            today = time.strftime("%Y-%m-%d")
            new = {
                source: {"sha256": sha256, "date": today}
                for source, sha256 in digests.items()
                if source not in kept or kept[source]["sha256"] != sha256
            }
            if new:
                with replacing(ledger) as temporary:
                    document = {"format_version": _VERSION, "files": {**kept, **new}}
                    temporary.write_text(json_text(document), encoding="utf-8")
    return {source: sha256 for source, sha256 in digests.items() if source not in kept}


def _changed(source: str, kept: Mapping[str, str], sha256: str) -> DownloadIntegrityError:
    return DownloadIntegrityError(
        f"{source} has changed since its first use here on {kept['date']}: its SHA-256 was {kept['sha256']}, "
        f"and is {sha256} now. Nothing was installed. Ask its publisher whether that is right; if so, repeat "
        "the command 'mednext models' with --accept-change."
    )


def _read(ledger: Path) -> Mapping[str, Any]:
    if not ledger.exists():
        return {}
    fields = Fields(read_json(ledger, DownloadIntegrityError), str(ledger), DownloadIntegrityError)
    fields.integer("format_version", _VERSION, _VERSION)
    files = fields.take("files")
    fields.finish()
    if not isinstance(files, dict):
        raise fields.refuse("files", files, "an object with a digest for each source")
    for source, data in files.items():
        kept = Fields(data, f"{ledger}: {source}", DownloadIntegrityError)
        kept.text("sha256", pattern="[0-9a-f]{64}")
        kept.text("date", pattern=r"\d{4}-\d\d-\d\d")
        kept.finish()
    return files
