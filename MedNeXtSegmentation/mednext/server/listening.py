"""The sockets of a server: HTTPS, or HTTP for this computer and a proxy; clients that stall are cut off."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import OptionError
from ..system.secret_files import tell_others_may_read
from .certificate import days_left

logger = logging.getLogger(__name__)

HEAD_S = 20.0  # for the head of a request, and for a connection without any

_MOST_CONNECTIONS = 256
_UNREAD_MS = 120_000  # the system ends a connection whose client takes no bytes for so long
_KEEP_ALIVE_S = 30
_WARN_DAYS = 30


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Attributes:
        host, port: an address of this computer; port 0 takes a free one.
        certificate, key: PEM files; without them the server speaks plain HTTP.
        behind_proxy: plain HTTP is meant, since a proxy with HTTPS stands in front.

    Raises:
        OptionError: plain HTTP would be open to the network, or the files cannot be used.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise OptionError("A certificate and its key belong together: give both files.")
        if self.certificate and self.key:
            left = days_left(self.certificate, self.key)
            if left < _WARN_DAYS:
                logger.warning("The certificate %s expires in %d days: renew it.", self.certificate, left)
            tell_others_may_read(self.key, logger)
        elif not (_is_this_computer(self.host) or self.behind_proxy):
            raise OptionError(
                f"On {self.host} images and keys would cross the network unencrypted: give --certificate and "
                "--certificate-key, or put a proxy with HTTPS in front and add --behind-proxy."
            )

    @property
    def scheme(self) -> str:
        """ "https", or "http" without a certificate."""
        return "https" if self.certificate else "http"


def _is_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Impatient(H11Protocol):
    """Ends a connection after `HEAD_S` without a request under way, whatever trickles in.

    Also one that is closing, but whose client does not take the rest of the answer.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._seen: Any = (None, False)
        self._looking = self.loop.call_later(HEAD_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._looking.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete or self.transport.is_closing()
        seen = (self.cycle, self.transport.is_closing()) if idle else None
        if idle and seen == self._seen:
            self.transport.abort()
            return
        self._seen = seen
        self._looking = self.loop.call_later(HEAD_S, self._look)


def listening_socket(place: Place) -> socket.socket:
    """A socket that listens. Raises `OptionError` when the address is taken or not of this computer."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(AttributeError, OSError):  # Linux has it, and passes it on to connections
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        listener.bind((place.host, place.port))
        listener.listen()  # early, so that a taken port is refused before the engines start
    except (OSError, OverflowError) as error:
        listener.close()
        raise OptionError(
            f"The server cannot listen on {place.host}, port {place.port} ({error}): choose another one."
        ) from error
    return listener


def web_server(app: ASGIApp, place: Place) -> uvicorn.Server:
    """A server of the application, to be run with `serve(sockets=[listening_socket(place)])`."""
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=2,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    return uvicorn.Server(config)
