"""Requests to a server, each in a thread of its own, repeated while the line is broken, or explained."""

from __future__ import annotations

import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from .. import __version__, errors
from ..errors import MedNeXtError, ServerAccessError, ServerError
from ..library.download.guarded_session import guarded_session
from ..library.download.http_stream import SILENCES, reason_of
from ..library.web_address import is_this_computer
from ..system.cancellation import POLL_S, check_cancelled, wait
from ..system.json_reading import parse_json
from ..system.shown_text import shown
from . import wire
from .address import Server

logger = logging.getLogger(__name__)

_READ_BYTES = 2**16
_LONGEST_PAUSE_S = 10.0
_FORGETTING_S = 1.0
_NOT_FOUND = 404
_TOO_LARGE = 413
_GATEWAY_TROUBLE = (408, _TOO_LARGE, 429, 500, 502, 503, 504)  # of a proxy: without a document of ours


@dataclass(frozen=True)
class Patience:
    """The limits after which a client gives up. Times are in seconds.

    lost_s: without any answer of the server, while it is asked again and again.
    busy_s: of a server without room for one more request.
    unchanged_s: of a run whose state stays the same.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    lost_s: float = 180.0
    busy_s: float = 3600.0
    unchanged_s: float = 24 * 3600.0
    pause_s: float = 0.5


@dataclass(frozen=True)
class Request:
    """A request to a path below `wire.PREFIX`."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A whole answer of the server."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def header(self, name: str) -> str:
        """The value of a header; "" without it."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def document(self) -> Any:
        """The JSON value of the answer. Raises `ServerError` for anything else."""
        try:
            return parse_json(self.content)
        except (ValueError, RecursionError) as error:
            raise ServerError(f"The server's answer is not JSON: {error}.") from error


class UnknownJobError(ServerError):
    """The server no longer has this job: it was restarted, or the client was silent for too long."""


class _LostError(Exception):
    """This attempt failed; another one may succeed."""


class Connection:
    """Asks one server.

    cancelled: asked ten times a second, also while the server is silent.
    """

    def __init__(
        self,
        server: Server,
        cancelled: Callable[[], bool] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.server = server
        self.cancelled = cancelled
        self.patience = patience or Patience()
        self._session = guarded_session()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Answer:
        """The server's answer to a request below `wire.PREFIX`; for the rest see `ask_with`."""
        request = Request(method, path, body, headers or {})
        return self.ask_with(lambda: request, **rest)

    def ask_with(
        self,
        make: Callable[[], Request],
        *,
        most: int = wire.LARGEST_DOCUMENT,
        expected: tuple[int, ...] = (200, 201),
        lost_s: float | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> Answer:
        """The server's answer to a request, which is made anew and repeated while the line is broken.

        Args:
            make: the request of the next attempt, which may be a smaller one.
            most: bytes of the answer; a longer one is none of ours.
            expected: status codes that are no failure.
            lost_s: see `Patience`.
            on_lost: called after each failed attempt.

        Raises:
            ServerError: no answer, or an error of the server.
            ServerAccessError: the certificate, the key or the version is refused.
            MedNeXtError: the error in the server's answer.
            Cancelled: `cancelled` answered True.
        """
        lost_s = self.patience.lost_s if lost_s is None else lost_s
        pause, begun = self.patience.pause_s, time.monotonic()
        while True:
            try:
                answer = self._attempt(make(), most)
                return self._judged(answer, expected)
            except _LostError as error:
                if time.monotonic() - begun + pause > lost_s:
                    raise self._unreachable(str(error)) from error
                logger.info("%s does not answer (%s); again in %.1f s.", self.server.name, error, pause)
                if on_lost:
                    on_lost()
                wait(pause, self.cancelled)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def forget(self, path: str) -> None:
        """Send DELETE once, and wait for no more than a moment; the server forgets lost clients by itself."""
        other = Connection(self.server, None, self.patience)  # this one may have been cancelled
        with suppress(MedNeXtError, _LostError):
            other._attempt(Request("DELETE", path), wire.LARGEST_DOCUMENT, _FORGETTING_S)

    def _attempt(self, request: Request, most: int, within_s: float | None = None) -> Answer:
        """Do the request in a thread, since look-up, connecting and reading cannot be interrupted."""
        outcome: queue.SimpleQueue[Answer | Exception | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome.put(self._answer(request, most, within_s, lambda: outcome.put(None)))
            except Exception as error:  # noqa: BLE001  # boundary: passed on to the caller's thread
                outcome.put(error)

        name = f"{request.method} {self.server.name}"
        threading.Thread(target=work, name=name, daemon=True).start()
        limit = within_s or SILENCES * (self.patience.connect_s + self.patience.read_s)
        end = time.monotonic() + limit
        while True:
            check_cancelled(self.cancelled)
            try:
                got = outcome.get(timeout=POLL_S)
            except queue.Empty:
                if time.monotonic() > end:
                    raise _LostError("no answer in time") from None
                continue
            if isinstance(got, Answer):
                return got
            if got is not None:
                raise self._explained(got) from got
            if within_s is None:
                end = time.monotonic() + limit

    def _answer(
        self, request: Request, most: int, within_s: float | None, arriving: Callable[[], None]
    ) -> Answer:
        limits = (self.patience.connect_s, self.patience.read_s)
        with self._session.request(
            request.method,
            f"{self.server.address}{wire.PREFIX}{request.path}",
            data=request.body or None,
            headers={
                "User-Agent": f"mednext/{__version__}",
                "Accept-Encoding": "identity",
                wire.PROTOCOL_HEADER: str(wire.PROTOCOL),
                **request.headers,
            },
            auth=self._with_key,  # without one, requests takes a password of ~/.netrc
            timeout=limits if within_s is None else within_s,
            proxies={"no_proxy": "*"} if is_this_computer(self.server.address) else None,
            verify=self.server.certificate or True,
            allow_redirects=False,  # never take the key elsewhere
            stream=True,
        ) as response:
            content = bytearray()
            arriving()
            for piece in response.iter_content(_READ_BYTES):
                arriving()
                content += piece
                if len(content) > most:
                    raise ServerError(
                        f"{self.server.name} sends more than {most} bytes: is it a mednext server?"
                    )
            told = response.headers.get("Content-Length", "")
            if told.isdecimal() and int(told) != len(content):
                raise requests.ConnectionError("the connection closed in the middle of the answer")
            return Answer(response.status_code, dict(response.headers), bytes(content))

    def _with_key(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.server.key}"
        return request

    def _explained(self, error: Exception) -> Exception:
        """The error of a failed request: of ours, or `_LostError` where another attempt may succeed."""
        if isinstance(error, MedNeXtError):
            return error
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            if error.filename:  # the certificate's file
                return ServerAccessError(
                    f"{error.filename} cannot be read ({error.strerror}): check the path."
                )
            return _LostError(error.strerror or type(error).__name__)
        if isinstance(error, requests.exceptions.SSLError) and (reason := _certificate_fault(error)):
            return ServerAccessError(
                f"The certificate of {self.server.name} is refused ({reason}), so nothing was sent. Ask the "
                "server's administrator for a valid one, or for the file to trust (--server-certificate)."
            )
        if isinstance(error, requests.exceptions.ProxyError):
            host = urlsplit(self.server.address).hostname
            return _LostError(f"{reason_of(error)}; with {host} in NO_PROXY it is not asked")
        if isinstance(error, requests.RequestException):
            return _LostError(reason_of(error))
        if isinstance(error, urllib3.exceptions.HTTPError):
            return _LostError(type(error).__name__)
        logger.info("The answer of %s cannot be read.", self.server.name, exc_info=error)
        return ServerError(f"The answer of {self.server.name} cannot be read: {error}.")

    def _judged(self, answer: Answer, expected: tuple[int, ...]) -> Answer:
        if answer.status in expected:
            return answer
        known = _error_in(answer)
        if known is None and answer.status in _GATEWAY_TROUBLE:
            why = ", a proxy takes no large requests" if answer.status == _TOO_LARGE else ""
            raise _LostError(f"HTTP {answer.status}{why}")
        if known is None:
            where = answer.header("Location")
            raise ServerError(
                f"{self.server.name} answers HTTP {answer.status}"
                + (f" and leads to {shown(where)[:200]}" if where else "")
                + ": is it the address of a mednext server?"
            )
        if answer.status == _NOT_FOUND and isinstance(known, ServerError):
            raise UnknownJobError(str(known))
        raise known

    def _unreachable(self, reason: str) -> ServerError:
        return ServerError(
            f"{self.server.name} cannot be reached ({reason}): check its address, the network, and whether "
            "the server is running. Nothing was changed here; the run can be begun again."
        )


def _error_in(answer: Answer) -> MedNeXtError | None:
    """The error in an answer; None for any other answer."""
    try:
        document = parse_json(answer.content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("error"), str):
        return None
    return errors.from_json({**document, "message": shown(str(document.get("message")))})


def _certificate_fault(error: requests.exceptions.SSLError) -> str:
    """The reason for which a certificate is refused; "" where only the connection broke."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message or "it cannot be verified")
        inner = getattr(cause, "reason", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    return ""
