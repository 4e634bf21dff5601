"""The keys of a server: a file with a name and a hash for each, which may change while the server runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import MedNeXtError, OptionError
from ..library.folder_locations import models_folder
from ..system.atomic import explaining, replacing
from ..system.json_reading import Fields, json_text, read_json
from ..system.locks import locked
from ..system.secret_files import tell_others_may_read

_PREFIX = "mednext_"  # so that a leaked key is recognised
_RANDOM_BYTES = 32
_NAME = r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}"
_OTHERS_MAY_WRITE = 0o022

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A user of the server.

    Attributes:
        name: chosen by the administrator; the log has it.
        sha256: of the key. A random key of 256 bits needs no slow hash.
        created: when, in UTC.
    """

    name: str
    sha256: str
    created: str

    @classmethod
    def read(cls, fields: Fields) -> Owner:
        """The inverse of `asdict`."""
        owner = cls(
            fields.text("name", pattern=_NAME),
            fields.text("sha256", pattern="[0-9a-f]{64}"),
            fields.text("created"),
        )
        fields.finish()
        return owner


class KeyFile:
    """The owners in a file, read again after each change; without a readable file every key is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._owners: tuple[Owner, ...] = ()

    def add(self, name: str) -> str:
        """Make a key for a new owner, and return it: the file has only its hash.

        Raises `OptionError` for a name that is taken or none, `OutputError` when the file cannot be written.
        """
        key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        told = {
            "name": name,
            "sha256": _hash(key),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        owner = Owner.read(Fields(told, "the new key", OptionError))
        with explaining(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(_lock_of(self.path)):
                owners = self.listed()
                if any(each.name == name for each in owners):
                    raise OptionError(f"There is a key {name!r} already: choose another name, or revoke it.")
                self._write([*owners, owner])
        return key

    def revoke(self, name: str) -> None:
        """Remove the key of this owner, whose runs a running server ends within a second.

        Raises `OptionError` for an unknown name.
        """
        with explaining(self.path), locked(_lock_of(self.path)):
            owners = self._read()
            left = [owner for owner in owners if owner.name != name]
            if len(left) == len(owners):
                known = ", ".join(owner.name for owner in owners) or "none"
                raise OptionError(f"There is no key {name!r} in {self.path}, only: {known}.")
            self._write(left)

    def listed(self) -> tuple[Owner, ...]:
        """The owners in the file; none without a file. Raises `OptionError` for a damaged one."""
        return self._read() if self.path.exists() else ()

    def owners(self) -> tuple[Owner, ...]:
        """The present owners; none while the file is missing, damaged or open for others to write."""
        try:
            known = self.path.stat()
            stamp: tuple[int, ...] | None = (known.st_ino, known.st_size, known.st_mtime_ns, known.st_mode)
        except OSError:
            stamp = None
        if stamp is None:
            self._owners = ()
        elif stamp != self._stamp:
            try:
                self._owners = self._read()
            except MedNeXtError as error:
                logger.error("All keys are refused: %s", error)
                self._owners = ()
        self._stamp = stamp
        return self._owners

    def owner_of(self, key: str) -> Owner | None:
        """The owner of a key. Takes the same time for every wrong key."""
        found, offered = None, _hash(key)
        for owner in self.owners():
            if hmac.compare_digest(owner.sha256, offered):
                found = owner
        return found

    def _read(self) -> tuple[Owner, ...]:
        if sys.platform != "win32" and self.path.exists():
            mode = self.path.stat().st_mode
            if mode & _OTHERS_MAY_WRITE:
                raise OptionError(f"Others may write {self.path}: chmod go-w it, and check the names in it.")
            tell_others_may_read(self.path, logger)
        fields = Fields(read_json(self.path, OptionError), str(self.path), OptionError)
        owners = fields.objects("keys", Owner.read)
        fields.finish()
        return owners

    def _write(self, owners: Sequence[Owner]) -> None:
        document: dict[str, Any] = {"keys": [asdict(owner) for owner in owners]}
        with replacing(self.path, private=True) as temporary:
            temporary.write_text(json_text(document) + "\n", encoding="utf-8")


def default_key_file() -> Path:
    """The key file of this user, in the folder of models."""
    return models_folder() / "server_keys.json"


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
