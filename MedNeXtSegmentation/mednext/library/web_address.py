"""Check addresses on the web from catalogs, variables and servers, and show them without passwords."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ..system.json_reading import Fields
from ..system.shown_text import shown

_LONGEST = 8192
_SHOWN = 300
_USER = re.compile(r"//[^/?#]*@")


def check_address(text: str) -> None:
    """Refuse a text that is not an address of http or https; the network is not used.

    User names, passwords, ports and letters of all languages are allowed.

    Raises:
        ValueError: it is not such an address; the message says why.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST} characters")
    if shown(text) != text or any(char.isspace() or char == "\\" for char in text):
        raise ValueError("it has spaces, backslashes or characters that cannot be seen")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:  # whose words may quote a password
        raise ValueError("its server or its port is not written as one") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("only http and https addresses can be downloaded")
    if not parts.hostname or port == 0:
        raise ValueError("it names no server")


def read_address(fields: Fields, key: str, private: bool = False) -> str:
    """The address in a field of a catalog; the field's own error for another text.

    Args:
        private: refuse http, but for this computer.
    """
    text = fields.text(key)
    check_field(fields, key, text, private)
    return text


def check_field(fields: Fields, key: str, text: str, private: bool = False) -> None:
    """Refuse a text in a field that is not an address, as `read_address` does."""
    try:
        check_address(text)
    except ValueError as error:
        raise fields.error(f"{fields.where}: {key!r} has {shown_address(text)!r}: {error}.") from error
    if private and not is_private(text):
        raise fields.error(f"{fields.where}: {key!r} has {shown_address(text)!r}, which is not of https.")


def is_private(text: str) -> bool:
    """True if the answers of an address cannot be changed on their way: by https, or on this computer."""
    return urlsplit(text).scheme == "https" or is_this_computer(text)


def is_this_computer(text: str) -> bool:
    """Whether an address leads to this computer. No proxy must be asked for it: plain http would leave it."""
    host = urlsplit(text).hostname
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def shown_address(text: str) -> str:
    """An address for messages and logs, without user name and password."""
    line = _USER.sub("//***@", shown(text))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
