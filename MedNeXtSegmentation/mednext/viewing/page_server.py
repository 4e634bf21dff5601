"""A web server for one result, for the browser of this computer and its user only.

The address holds a random word, without which the server answers nothing: other users of the computer share
its ports.
"""

from __future__ import annotations

import hmac
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["PageServer", "opening_page"]

# Nothing from elsewhere is loaded, and nothing is sent elsewhere; niivue decodes in workers made of blobs.
_POLICY = (
    "default-src 'none'; script-src 'self' blob:; worker-src blob:; connect-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
)


class PageServer(ThreadingHTTPServer):
    """Serves `files`, name to content type and bytes, on 127.0.0.1 below `address`.

    Raises `OSError` for a port in use; port 0 is a free one.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, tuple[str, bytes]], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.files = files
        self.word = secrets.token_urlsafe(24)

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.word}/"

    def found(self, path: str, host: str) -> tuple[str, bytes] | None:
        """The file for a path and a Host header; None for a wrong word, a wrong name, and another host."""
        _, _, rest = path.partition("/")
        word, _, name = rest.partition("/")
        if host != f"127.0.0.1:{self.server_address[1]}":  # a foreign name that was led to this address
            return None
        if not hmac.compare_digest(word.encode(), self.word.encode()):
            return None
        return self.files.get(name or "index.html")


@contextmanager
def opening_page(address: str) -> Iterator[Path]:
    """A private file that leads a browser to the address; it is removed after the block.

    A browser's arguments can be read by every user of the computer, and the address holds the word.
    """
    with tempfile.TemporaryDirectory(prefix="mednext-view-") as folder:  # readable by its user only
        page = Path(folder, "open.html")
        page.write_text(f'<meta http-equiv="refresh" content="0; url={address}">\n', encoding="ascii")
        yield page


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        file = self.server.found(self.path, self.headers.get("Host", ""))
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, content = file
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Cache-Control", "no-store")  # nothing of a patient stays in the browser
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: Any) -> None:
        """Log nothing: paths hold the word."""
