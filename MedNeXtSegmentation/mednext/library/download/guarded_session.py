"""A session of `requests` that lets no server fill the memory before its caller can count the bytes."""

from __future__ import annotations

import io
from typing import Any

import requests
from requests.adapters import HTTPAdapter

_PACKINGS = ("", "identity", "gzip", "x-gzip", "deflate")  # one layer unpacks to a thousandfold at most


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
        return response


def guarded_session() -> requests.Session:
    """A new session. Its requests raise `ContentDecodingError` for an answer in several layers of packing."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _GuardedAdapter())
    return session
