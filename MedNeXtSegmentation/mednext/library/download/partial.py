"""The unfinished part of a download, `<name>.part`, and a note on the file it is of, `<name>.part.json`."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import DownloadError
from ...system.json_reading import read_json

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 2**20
_VALIDATOR = re.compile(r"[!-~](?:[ -~]{0,998}[!-~])?")  # allowed in a request's header


class PartialFile:
    """Bytes of a file from its beginning on, kept across interruptions, with their running SHA-256.

    Only one process may hold it at a time.

    Attributes:
        size: number of bytes.
        answers: number of HTTP answers that they came with; one may have been of another version.
    """

    def __init__(self, target: Path, content: str, most: int) -> None:
        """Open the part that an earlier attempt at the same file has left, or start empty.

        Args:
            target: path of the whole file.
            content: its SHA-256, or another text that only the same bytes have; other parts are discarded.
            most: its largest possible size in bytes; a longer part is discarded.

        Raises OSError if the files cannot be written.
        """
        self.target = target
        self._content = content
        self.path = part_file(target)
        self._note_path = target.with_name(f"{target.name}.part.json")
        for path in (self.path, self._note_path):
            if path.is_symlink() or path.is_fifo():  # opening it would lead elsewhere, or never return
                path.unlink()
        self._note = _read_note(self._note_path)
        ours = self._note.get("sha256") == content and self.path.is_file()
        ours = ours and self.path.stat().st_size <= most
        self._file = self.path.open("r+b" if ours else "w+b")
        self._hash = hashlib.sha256()
        self.size = 0
        try:
            while block := self._file.read(_BLOCK_BYTES):
                self._hash.update(block)
                self.size += len(block)
        except BaseException:  # boundary: any end of the reading closes the file
            self._file.close()
            raise
        self.answers = int(self.size > 0)
        self._finished = False

    def validator(self, url: str) -> str:
        """The version that the bytes so far are of, as the server of this address has told it, or ""."""
        validator = self._note.get("validator")
        if self._note.get("url") == url and isinstance(validator, str) and _VALIDATOR.fullmatch(validator):
            return validator
        return ""

    def begin_answer(self, url: str, validator: str) -> None:
        """Note the version of the file that the next bytes are from."""
        self.answers += 1
        self._note = {"sha256": self._content, "url": url, "validator": validator}
        self._note_path.write_text(json.dumps(self._note), encoding="utf-8")

    def append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Discard all bytes so far."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0
        self.answers = 0

    def is_right(self, sha256: str) -> bool:
        """True if this is the whole file with this SHA-256."""
        return self._hash.hexdigest() == sha256.lower()

    def finish(self) -> None:
        """Put the verified file in its place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.replace(self.target)
        self._note_path.unlink(missing_ok=True)
        self._finished = True

    def close(self) -> None:
        """Keep the part for the next attempt, unless it is empty."""
        self._file.close()
        if self.size == 0 and not self._finished:
            self.path.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def part_file(target: Path) -> Path:
    """The path of an unfinished download."""
    return target.with_name(f"{target.name}.part")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_note(path: Path) -> dict[str, Any]:
    """The note of an earlier process; an unreadable one, perhaps of another program, counts as none."""
    try:
        note = read_json(path, DownloadError)
    except DownloadError as error:
        logger.debug("%s", error)
        return {}
    return note if isinstance(note, dict) else {}
