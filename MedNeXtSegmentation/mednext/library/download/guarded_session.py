"""A session of `requests` that lets no server fill the memory of its caller, or drip for ever."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter

_PACKINGS = ("", "identity", "gzip", "x-gzip", "deflate")  # one layer unpacks to a thousandfold at most
LEAST_BYTES = 64 * 2**10  # of a body, in each WINDOW_S of waiting for it, or the rest of it
WINDOW_S = 120.0
MOST_JSON = 256 * 2**20  # bytes, which dicomweb-client reads into the memory at once
_OLD_PIECE = 2**10  # before urllib3 2.2, which cannot hand over the bytes that are there


class _GuardedAdapter(HTTPAdapter):
    """Looks at the head of each answer, before anything reads its body."""

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Drop the body of a redirect, which `requests` would read to its end. Refuse layers of packing."""
        response = super().build_response(req, resp)
        packing = response.headers.get("Content-Encoding", "").strip().lower()
        if packing not in _PACKINGS:
            response.close()
            raise requests.exceptions.ContentDecodingError(
                "its answer has an encoding that was not asked for"
            )
        if response.is_redirect:
            response.close()
            response.raw = io.BytesIO()
        else:
            is_json = "json" in response.headers.get("Content-Type", "").lower()
            response.raw = _PacedBody(resp, MOST_JSON if is_json else math.inf)
        return response


class _PacedBody:
    """The body of an answer, whose bytes arrive at a least rate and have an end."""

    def __init__(self, body: Any, most: float) -> None:
        self._body = body
        self._left = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def stream(self, amt: int, decode_content: bool | None = None) -> Iterator[bytes]:
        """The bytes as they arrive, at most `amt` at once; see `guarded_session`."""
        waited, count = 0.0, 0
        pieces = self._pieces(amt, decode_content)
        begun = time.monotonic()
        for piece in pieces:
            waited, count = waited + time.monotonic() - begun, count + len(piece)
            self._left -= len(piece)
            if self._left < 0:
                raise requests.exceptions.ContentDecodingError("its answer is too long")
            yield piece
            if count >= LEAST_BYTES:
                waited, count = 0.0, 0
            elif waited > WINDOW_S:
                raise requests.ReadTimeout(f"it sent only {count} bytes in {waited:.0f} s")
            begun = time.monotonic()

    def _pieces(self, amt: int, decode_content: bool | None) -> Iterator[bytes]:
        if not hasattr(self._body, "read1"):
            yield from self._body.stream(min(amt, _OLD_PIECE), decode_content)
            return
        while piece := self._body.read1(amt, decode_content):
            yield piece


def guarded_session() -> requests.Session:
    """A new session.

    Its requests raise `ContentDecodingError` for an answer in several layers of packing or of more than
    `MOST_JSON`, and `ReadTimeout` for a body that brings less than `LEAST_BYTES` in `WINDOW_S`.
    """
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _GuardedAdapter())
    return session
