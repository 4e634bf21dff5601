"""One HTTP request, read by a thread of its own, so that its caller can give up at any moment.

Name look-up, connecting and reading cannot be interrupted. The caller therefore only waits on a queue, asks
ten times a second whether the user has cancelled, and leaves a stalled thread to end by its own timeout.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType

import requests

from ... import __version__
from ...system.cancellation import POLL_S, check_cancelled
from ...system.shown_text import shown
from ..web_address import shown_address
from .guarded_session import guarded_session

logger = logging.getLogger(__name__)

_REASONS: dict[type[Exception], str] = {  # the first that fits
    requests.exceptions.SSLError: "its certificate could not be verified",
    requests.exceptions.ProxyError: "the proxy cannot be reached or refuses",
    requests.exceptions.ConnectTimeout: "no connection within the time limit",
    requests.exceptions.TooManyRedirects: "it redirects in a circle",
    requests.exceptions.InvalidSchema: "it redirects to an address that is not http or https",
}
_LONGEST_REASON = 200

CHUNK_BYTES = 64 * 1024
SILENCES = 3  # the limits of one connection and one silence: the head may come after redirects
_END = None


class HttpStream:
    """A running GET request: first the head of its answer, then the body.

    ```python
    with HttpStream("https://example.org/model.zip", connect_s=10, read_s=30) as stream:
        stream.response.status_code
        for chunk in stream.chunks(): ...
    ```

    Proxies and certificates come from the environment, as `requests` defines it (`HTTPS_PROXY`, `NO_PROXY`,
    `REQUESTS_CA_BUNDLE`).

    Raises:
        requests.RequestException: no connection, or one that broke, stalled or drips; also from `chunks`.
        Cancelled: `cancelled` answered True while waiting.
    """

    response: requests.Response

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_s: float,
        read_s: float,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        # `identity`: byte ranges and SHA-256 are those of the file, not of a compressed transfer.
        self._headers = {
            "User-Agent": f"mednext/{__version__}",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        self._url = url
        self._timeout = (connect_s, read_s)
        self._longest_silence_s = SILENCES * (connect_s + read_s)
        self._cancelled = cancelled
        self._abandoned = threading.Event()
        self._queue: queue.Queue[requests.Response | bytes | Exception | None] = queue.Queue(maxsize=16)
        threading.Thread(target=self._read, name=f"GET {shown_address(url)}", daemon=True).start()
        with ExitStack() as undo:
            undo.callback(self.close)
            head = self._next()
            if not isinstance(head, requests.Response):
                raise requests.ConnectionError("the request ended without an answer")
            undo.pop_all()
        self.response = head

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece. The caller counts the bytes: an early end may pass unnoticed here."""
        while (chunk := self._next()) is not _END:
            assert isinstance(chunk, bytes)
            yield chunk

    def close(self) -> None:
        """Make the thread stop reading."""
        self._abandoned.set()

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> requests.Response | bytes | None:
        until = time.monotonic() + self._longest_silence_s
        while time.monotonic() < until:
            check_cancelled(self._cancelled)
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            return item
        raise requests.ReadTimeout(
            "it does not come to the end of its answer's head, or goes on without bytes"
        )

    def _read(self) -> None:
        try:
            with (
                guarded_session() as session,
                session.get(self._url, headers=self._headers, timeout=self._timeout, stream=True) as response,
            ):
                self._put(response)
                for chunk in response.iter_content(CHUNK_BYTES):
                    self._put(chunk)
                    if self._abandoned.is_set():
                        return
        except requests.RequestException as error:
            self._put(error)
        except Exception as error:  # boundary: urllib3, http.client and the socket, for any answer
            logger.info("The answer of %s cannot be read.", shown_address(self._url), exc_info=True)
            # ValueError: the address that the server redirects to, or the proxy's, is malformed.
            is_address = isinstance(error, ValueError)
            self._put(
                requests.exceptions.InvalidURL(error) if is_address else requests.ConnectionError(error)
            )
        finally:
            self._put(_END)

    def _put(self, item: requests.Response | bytes | Exception | None) -> None:
        while not self._abandoned.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return


def status_of(response: requests.Response) -> str:
    """The status of an answer, for messages."""
    return _short(f"HTTP {response.status_code} {response.reason or ''}".rstrip())


def reason_of(error: requests.RequestException) -> str:
    """The cause of an error, without the chain of library objects that requests puts into its messages."""
    root: BaseException = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    if isinstance(root, TimeoutError):
        return "the server went silent"
    return _short(getattr(root, "strerror", None) or str(root) or type(root).__name__)


def _short(text: str) -> str:
    """A server's text, short enough for a message."""
    line = shown(text)
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."
