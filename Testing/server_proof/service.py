"""A real `mednext serve` in a process of its own, with HTTPS, two engines and a small model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import mednext
from fixtures.downloads.http_server import make_certificates
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import engine_processes
from mednext.model.bundle import Bundle
from mednext.remote.address import Server
from mednext.server.keys import KeyFile

_READY_S = 240.0


class Service:
    """The server's process, its keys and its folder.

    Attributes:
        bundle: the model that it serves.
        log: all lines that it wrote.
        temporary: the folder for its temporary files.
    """

    def __init__(self, folder: Path, *limits: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        made = make_certificates(folder)
        assert made, "the proof needs the command openssl"
        self.certificate = str(made[0])
        self.bundle: Bundle = tiny_bundle(folder / "models" / "tiny")
        self.keys = KeyFile(folder / "keys.json")
        self._known: dict[str, str] = {}
        self._naming = threading.Lock()
        self.access("jane")
        self.log = folder / "server.log"
        self.temporary = Path(tempfile.mkdtemp(prefix="mnp"))  # short: Ray's sockets have short names
        self._command = [
            *(sys.executable, "-m", "mednext", "serve", "--keys", str(self.keys.path)),
            *("--port", str(self.port), "--certificate", str(folder / "server.pem")),
            *("--certificate-key", str(folder / "server.key"), "--model", str(self.bundle.path)),
            *("--device", "cpu", "--replicas", "2", "--threads", "1", *limits),
        ]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, and wait until it is ready."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(mednext.__file__).parents[1]),
            "TMPDIR": str(self.temporary),
        }
        process = subprocess.Popen(
            self._command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=environment
        )
        end = time.monotonic() + _READY_S
        while "Ready on" not in self.log.read_text():
            assert process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.2)
        return process

    @property
    def address(self) -> str:
        """The address of the server."""
        return f"https://127.0.0.1:{self.port}"

    def access(self, name: str = "jane", address: str = "") -> Server:
        """The server for this user; `address` is that of a line to it."""
        with self._naming:
            if name not in self._known:
                self._known[name] = self.keys.add(name)
        return Server(address or self.address, self._known[name], self.certificate)

    def engines(self) -> list[int]:
        """The process IDs of its engines."""
        return engine_processes(self.process.pid)

    def memory_mib(self) -> float:
        """The resident memory of the server's own process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> float:
        """End it with SIGTERM; return the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - begun
