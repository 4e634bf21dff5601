"""The address of a server, the key for it, and the certificate that it is known by."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import OptionError
from ..library.web_address import check_address, is_private, shown_address
from ..system.secret_files import tell_others_may_read

logger = logging.getLogger(__name__)

KEY_VARIABLE = "MEDNEXT_SERVER_KEY"

_LONGEST_KEY = 200


@dataclass(frozen=True)
class Server:
    """A server of `mednext serve`.

    Attributes:
        address: such as "https://gpu.hospital.example:8443", perhaps with a path in front of a proxy's.
        key: the key of this user; never shown, logged or written into a result.
        certificate: PEM file with the certificates to trust; "" for those of `requests`.

    Raises:
        OptionError: an address, a key or a file that cannot be right. Plain http is only allowed on this
            computer, since images and key would cross the network readable for everybody.
    """

    address: str
    key: str = field(default="", repr=False)
    certificate: str = ""

    def __post_init__(self) -> None:
        address = self.address.strip().rstrip("/")
        object.__setattr__(self, "address", address)
        object.__setattr__(self, "key", self.key.strip())
        shown = shown_address(address)
        try:
            check_address(address)
        except ValueError as error:
            raise OptionError(f"{shown!r} is no address of a server: {error}.") from error
        parts = urlsplit(address)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise OptionError(
                f"{shown} has more than a server and a path: give it such as https://gpu.example:8443."
            )
        if not is_private(address):
            raise OptionError(
                f"{shown} would send the images and the key unencrypted: give the server's address with "
                "https. Plain http is only for this computer (http://127.0.0.1:8080)."
            )
        if not self.key:
            raise OptionError(f"The key for {shown} is missing: ask the server's administrator for one.")
        if not self.key.isascii() or not self.key.isprintable() or len(self.key) > _LONGEST_KEY:
            raise OptionError(f"The key for {shown} is none: copy it again, without spaces or line breaks.")
        if self.certificate and not os.path.isfile(self.certificate):  # noqa: PTH113 - Path raises
            raise OptionError(f"There is no file {self.certificate} with the server's certificate.")

    @property
    def name(self) -> str:
        """The host and port, for people and for the provenance of results."""
        return urlsplit(self.address).netloc


def server_of(address: str, key_file: str | Path | None, certificate: str | Path | None) -> Server:
    """The server of the command line; the key is in a file or in `$MEDNEXT_SERVER_KEY`.

    A key among the arguments of a command could be read by every user of the computer.

    Raises `OptionError`: no key, or one of `Server`.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    if key_file is not None:
        try:
            key = Path(key_file).read_text(encoding="utf-8")
            tell_others_may_read(Path(key_file), logger)
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"The key cannot be read from {key_file}: {error}.") from error
    elif not key:
        raise OptionError(f"Give the key of the server in a file (--server-key FILE) or in {KEY_VARIABLE}.")
    return Server(address, key, str(certificate or ""))
