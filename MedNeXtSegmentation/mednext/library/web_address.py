"""Check addresses on the web from catalogs, variables and servers, and show them without passwords."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

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
