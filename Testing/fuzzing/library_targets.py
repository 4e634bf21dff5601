"""Targets: catalogs, zip files of models, answers of servers, leftovers of downloads."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
import threading
import zipfile
from pathlib import Path

from mednext.errors import DownloadError
from mednext.library.archive import unpack
from mednext.library.catalog import read_catalog
from mednext.library.catalog_source import load_catalog
from mednext.library.download import Patience, download
from mednext.library.download.partial import PartialFile
from mednext.library.download.remote_file import RemoteFile
from mednext.library.download.remote_zip import data_start, find_members, list_members
from mednext.library.folder_locations import shipped_models_folder

from .targets import Target

CONTENT = b"a model" * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def _archives(folder: Path) -> list[Path]:
    paths = []
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    for number, method in enumerate(methods):
        paths.append(folder / f"{number}.zip")
        with zipfile.ZipFile(paths[-1], "w", method) as target:
            target.writestr("m/", "")
            target.writestr("m/model.json", "{}")
            target.writestr("__MACOSX/m/._a", "x")
            with target.open(zipfile.ZipInfo("m/fold_0.safetensors"), "w", force_zip64=True) as file:
                file.write(CONTENT)
    return paths


def _unpack(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unpack(path, Path(folder))


class _LocalFile(RemoteFile):
    """A file on this computer that is read as one on a server."""

    def _receive(self, first: int, size: int) -> bytes:
        return Path(self.url).read_bytes()[first : first + size]


def _remote_archives(folder: Path) -> list[Path]:
    return _archives(folder)[:2]  # stored and deflated; other methods are refused


def _list_remotely(path: Path) -> None:
    remote = _LocalFile(str(path), path.stat().st_size, "", Patience())
    members = list_members(remote)
    for member in find_members(members, [member.name for member in members]):
        remote.span(data_start(remote, member), member.packed)


def _catalogs(folder: Path) -> list[Path]:
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    entry = {"name": "free", "task": "BTCV", "title": "S", "version": "1.0.0", "licence": "CC0-1.0"}
    download_ = {"urls": ["https://me:secret@a.example:8000/m.zip?a=b"], "sha256": SHA256, "bytes": 140}
    kept = ("BTCV", "hippocampus", "BraTS26-metastases")
    tasks = [task for task in catalog["tasks"] if task["name"] in kept]
    models = [model for model in catalog["models"] if model["task"] in kept]
    models.append({**entry, "download": download_})
    # Mutations hit the beginning of a file most often.
    (folder / "catalog.json").write_text(json.dumps({"format_version": 1, "models": models, "tasks": tasks}))
    (folder / "tasks.json").write_text(json.dumps({"tasks": tasks, "models": models, "format_version": 1}))
    return [folder / "catalog.json", folder / "tasks.json"]


def _notes(folder: Path) -> list[Path]:
    note = folder / "m.zip.part.json"
    note.write_text(json.dumps({"sha256": SHA256, "url": "https://a.example/m.zip", "validator": '"v1"'}))
    (folder / "m.zip.part").write_bytes(CONTENT[:50])
    return [note]


def _resume(path: Path) -> None:
    part = path.with_name("m.zip.part")
    before = part.read_bytes()
    with PartialFile(path.with_name("m.zip"), SHA256, len(CONTENT)) as partial:
        partial.validator("https://a.example/m.zip")
        is_resumed = partial.size > 0
    part.write_bytes(before)
    if not is_resumed:
        raise DownloadError("begun anew")


HEADS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 140\r\nETag: "v1"\r\nLast-Modified: Mon, 01 Jan 2024\r\n\r\n',
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-139/140\r\nContent-Length: 140\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /m.zip?a=b\r\nSet-Cookie: a=b; Path=/\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 416 Range\r\nContent-Range: bytes */140\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n8c\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 140\r\n\r\n",
)


class _Server:
    """A server that answers one request with the bytes of a file, and later ones correctly."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/m.zip"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            try:
                with connection:
                    connection.settimeout(1)
                    connection.recv(65536)
                    answer, self.answer = self.answer, HEADS[0] + CONTENT
                    connection.sendall(answer)
            except OSError:
                continue  # the client hung up first


_servers: list[_Server] = []


def _answers(folder: Path) -> list[Path]:
    _servers.append(_Server())
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    paths = [folder / f"{number}.http" for number in range(len(HEADS))]
    for path, head in zip(paths, HEADS, strict=True):
        path.write_bytes(head + CONTENT)
    return paths


def _ask(path: Path) -> None:
    server = _servers[-1]
    patience = Patience(connect_s=2, read_s=2, attempts=3, backoff_s=0, longest_wait_s=0.01)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MEDNEXT_MODELS=folder, MEDNEXT_CATALOG_URL=server.url)
        server.answer = path.read_bytes()
        load_catalog(refresh=True)
        server.answer = path.read_bytes()
        target = Path(folder) / "m.zip"
        target.with_name("m.zip.part").write_bytes(CONTENT[:50])
        target.with_name("m.zip.part.json").write_text(json.dumps({"sha256": SHA256}))
        download([server.url], target, sha256=SHA256, patience=patience)
        if target.read_bytes() != CONTENT:
            raise AssertionError("another file than the one that was promised")


TARGETS = (
    Target("zip file", _archives, _unpack),
    Target("list of a zip file on a server", _remote_archives, _list_remotely),
    Target("catalog", _catalogs, read_catalog),
    Target("note of a download", _notes, _resume),
    Target("answer of a server", _answers, _ask),
)
