"""Real HTTP servers on the loopback interface that misbehave as servers, networks and proxies do.

with Server() as server:
    url = server.answer("/model.zip", serve(CONTENT, hang_up_after=1000), serve(CONTENT))
    download([url], ...)
    assert server.requests[1].headers["Range"] == "bytes=1000-"
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[["Handler"], None]


@dataclass(frozen=True)
class Request:
    """A request as the server saw it."""

    path: str
    headers: Message


class Handler(BaseHTTPRequestHandler):
    """Answers each path with its next scripted answer, and goes on repeating the last one."""

    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(Request(self.path, self.headers))
        answers = self.server.answers.get(self.path, [status(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)
        self.close_connection = True

    def head(self, code: int, length: int | None, **headers: str) -> None:
        """Send the status line and the headers; `_` in a header's name stands for `-`."""
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output free of access logs."""


class Server(ThreadingHTTPServer):
    """Serves scripted answers from a thread of its own while the `with` block runs."""

    daemon_threads = True
    block_on_close = False  # a stalled answer must not hold the test up

    def __init__(self, tls: ssl.SSLContext | None = None, handler: type[Handler] = Handler) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"

    def answer(self, path: str, *answers: Answer) -> str:
        """Script the answers of a path; returns its URL."""
        self.answers[path] = list(answers)
        return self.address + path

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the game."""

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()


def serve(
    content: bytes, *, etag: str = '"v1"', ranges: bool = True, hang_up_after: int | None = None
) -> Answer:
    """Send the content, or the range asked for if it is of the version asked for.

    With `hang_up_after`, promise as much but send at most that many bytes each time.
    """

    def answer(handler: Handler) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        same = handler.headers.get("If-Range") in (None, etag)
        start = int(wanted[1]) if wanted and ranges and same else 0
        body, total = content[start:], len(content)
        if start >= total:
            handler.head(416, 0, Content_Range=f"bytes */{total}")
            return
        if start:
            span = f"bytes {start}-{total - 1}/{total}"
            handler.head(206, len(body), ETag=etag, Content_Range=span)
        else:
            handler.head(200, total, ETag=etag)
        handler.wfile.write(body[:hang_up_after])

    return answer


def stall_after(content: bytes, count: int) -> Answer:
    """Promise the whole content, send `count` bytes, and fall silent for ever without hanging up."""

    def answer(handler: Handler) -> None:
        handler.head(200, len(content), ETag='"v1"')
        handler.wfile.write(content[:count])
        handler.wfile.flush()
        handler.server.stopped.wait()

    return answer


def stall_before_head() -> Answer:
    """Accept the request and never say anything."""

    def answer(handler: Handler) -> None:
        handler.server.stopped.wait()

    return answer


def unsized(content: bytes) -> Answer:
    """Send the content without telling its length, so that its end looks like a dropped connection."""

    def answer(handler: Handler) -> None:
        handler.head(200, None)
        handler.wfile.write(content)

    return answer


def wrong_range(content: bytes) -> Answer:
    """Answer a range request with another range than the one asked for."""

    def answer(handler: Handler) -> None:
        total = len(content)
        handler.head(206, total - 1, ETag='"v1"', Content_Range=f"bytes 1-{total - 1}/{total}")
        handler.wfile.write(content[1:])

    return answer


def raw(answer: bytes) -> Answer:
    """Send these bytes, head and all."""

    def send(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.wfile.flush()

    return send


def redirect(location: str) -> Answer:
    """Send the client elsewhere."""
    return lambda handler: handler.head(302, 0, Location=location)


def status(code: int, **headers: str) -> Answer:
    """An empty answer with this status."""
    return lambda handler: handler.head(code, 0, **headers)


class ProxyHandler(Handler):
    """Forwards plain requests by looking up the script of the whole URL, and tunnels `CONNECT`."""

    def do_CONNECT(self) -> None:
        self.server.requests.append(Request(self.path, self.headers))
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=60) as upstream:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(upstream, self.connection), daemon=True)
            back.start()
            _pump(self.connection, upstream)
            back.join(60)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side has hung up


def make_certificates(folder: Path) -> tuple[Path, ssl.SSLContext] | None:
    """A certificate authority of an imaginary hospital, and a server context for 127.0.0.1 signed by it.

    Returns the authority's PEM file and the context; None where there is no openssl command.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    certificate, certificate_key = folder / "server.pem", folder / "server.key"
    made = [openssl, "req", "-x509", "-days", "2", *key]
    subprocess.run(
        [*made, "-subj", "/CN=Hospital CA", "-keyout", authority_key, "-out", authority],
        check=True,
        capture_output=True,
    )
    signed = ["-CA", authority, "-CAkey", authority_key, "-addext", "subjectAltName=IP:127.0.0.1"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        [*made, *signed, *leaf, "-keyout", certificate_key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate_key)
    return authority, context
