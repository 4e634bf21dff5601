"""Targets: requests to `mednext serve` and its answers, the worker's pipe, answers of a DICOMweb archive."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pydicom
import requests
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import HeldEngines, application
from fixtures.worker.dialogue import write_request
from mednext.dicomweb import archive as dicomweb
from mednext.errors import ArchiveError, ServerAccessError, ServerError
from mednext.images.geometry import Geometry
from mednext.images.source_image import SourceImage
from mednext.inference.options import Options
from mednext.model.bundle import Bundle
from mednext.remote import wire
from mednext.remote.address import Server
from mednext.remote.connection import Answer, Connection, Patience
from mednext.remote.segment import _error_of
from mednext.remote.served_models import greet, served_model
from mednext.server.app import Service, create_app
from mednext.server.jobs import Limits
from mednext.server.keys import KeyFile
from mednext.server.serving import service_of
from mednext.worker import protocol
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from .targets import Target

SHAPE = (4, 5, 6)
VOXELS = np.arange(120, dtype=np.float32).reshape(SHAPE).tobytes()
GRID = Geometry((6, 5, 4), (1.0, 1.5, 2.0))

_services: list[tuple[Service, Bundle, str]] = []


def _http(first: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join(lines).encode() + b"\n\n" + body


def _parts(content: bytes) -> tuple[str, list[tuple[bytes, bytes]], bytes]:
    """First line, headers and body."""
    head, _, body = content.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    pairs = [line.partition(b": ") for line in lines]
    return first.decode("latin-1"), [(name.lower(), value) for name, _, value in pairs], body


def _requests(folder: Path) -> list[Path]:
    bundle = tiny_bundle(folder / "tiny")
    keys = KeyFile(folder / "keys.json")
    key = keys.add("jane")
    _services.append((service_of(HeldEngines(), keys, Limits(), {"tiny": bundle}), bundle, key))
    sums = [hashlib.sha256(VOXELS).hexdigest()]
    piece = {wire.BYTES_HEADER: str(len(VOXELS)), wire.SHA256_HEADER: sums[0]}
    contents = {
        "hello": _http("GET /v1/hello", {}, b""),
        "model": _http("GET /v1/models/tiny", {}, b""),
        "apply": _http("POST /v1/jobs", {}, json.dumps(application(bundle, SHAPE)).encode()),
        "piece": _http("PUT /v1/jobs/JOB/images/0?offset=0", piece, zlib.compress(VOXELS)),
        "start": _http("POST /v1/jobs/JOB/start", {}, json.dumps({"sha256": sums}).encode()),
        "state": _http("GET /v1/jobs/JOB", {}, b""),
        "labels": _http("GET /v1/jobs/JOB/labels?offset=0&size=9", {}, b""),
    }
    paths = [folder / f"{name}.request" for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def _request(path: Path) -> None:
    """Send a request to a server with a job; an answer of 500 is the only wrong one."""
    service, bundle, key = _services[-1]
    owner = service.keys.owner_of(key)
    assert owner
    asked = json.loads(json.dumps(application(bundle, SHAPE)))
    job = service.table.open(owner, wire.Application.read(asked))
    if path.stem == "start":
        job.take_piece(0, 0, VOXELS)
    if path.stem == "labels":
        job.finish({"labels": np.ones(SHAPE, np.uint8)}, {"model": "tiny"})
    first, headers, body = _parts(path.read_bytes().replace(b"JOB", job.id.encode()))
    method, _, address = first.partition(" ")
    place, _, query = address.partition("?")
    headers += [
        (b"authorization", f"Bearer {key}".encode()),
        (wire.PROTOCOL_HEADER.lower().encode(), str(wire.PROTOCOL).encode()),
    ]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(place),
        "raw_path": place.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": headers,
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    try:
        status = asyncio.run(_asked(service, scope, body))
    finally:
        for left in service.table:
            service.table.drop(left, "fuzzed")
    if status >= 500 and status != 503:
        raise AssertionError(f"the server answers {status}")
    if status >= 400:
        raise ServerError(f"status {status}")


async def _asked(service: Service, scope: dict[str, Any], body: bytes) -> int:
    statuses = []

    bodies = [body]

    async def receive() -> dict[str, Any]:
        if not bodies:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await create_app(service)(scope, receive, send)
    for task in service.dispatcher._running.values():
        task.cancel()
    return int(statuses[0])


def _answers(folder: Path) -> list[Path]:
    model = tiny_bundle(folder / "tiny").model
    hello = {"mednext": "1", "engines": 1, "waiting": 0, "largest_bytes": 9, "longest_s": 1.5, "models": []}
    hello["models"] = [{"name": "tiny", "version": "1", "title": "Tiny", "sha256": "a"}]
    sha256 = hashlib.sha256(VOXELS).hexdigest()
    arrays = {"labels": wire.ArrayOutline("uint8", sha256)}
    state = wire.JobState("done", remarks=("A remark.",), arrays=arrays, provenance={"model": "tiny"})
    failed = wire.JobState("failed", error={"error": "ChannelError", "message": "Too few."})
    documents = {
        "hello": hello,
        "model": model.to_json(),
        "state": state.to_json(),
        "failed": failed.to_json(),
        "refused": {"error": "ServerAccessError", "message": "The key is none."},
    }
    paths = []
    for name, document in documents.items():
        paths.append(folder / f"{name}.answer")
        first = "HTTP 401" if name == "refused" else "HTTP 200"
        paths[-1].write_bytes(
            _http(first, {"Content-Type": "application/json"}, json.dumps(document).encode())
        )
    paths.append(folder / "piece.answer")
    paths[-1].write_bytes(_http("HTTP 200", {wire.SHA256_HEADER: sha256}, zlib.compress(VOXELS)))
    return paths


def _answer(path: Path) -> None:
    first, headers, body = _parts(path.read_bytes())
    status = int(first[5:]) if first[5:].isascii() and first[5:].isdecimal() and len(first) < 9 else 200
    decoded = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    answer = Answer(status, decoded, body)
    Connection._attempt = lambda *_arguments, **_names: answer  # type: ignore[method-assign]
    server = Server("http://127.0.0.1", "key")
    connection = Connection(server, patience=Patience(lost_s=0))
    if path.stem == "hello":
        list(greet(server).lines)
    elif path.stem == "refused":
        with suppress(ServerAccessError):
            greet(server)
    elif path.stem == "model":
        served_model(server, "tiny")
    elif path.stem == "piece":
        got = connection.ask("GET", "/x")
        try:
            wire.unpack(got.content, len(VOXELS), got.header(wire.SHA256_HEADER))
        except ValueError as error:  # is asked for again
            raise ServerError(str(error)) from error
    else:
        str(_error_of(wire.JobState.read(connection.ask("GET", "/x").document())))


def _lines(folder: Path) -> list[Path]:
    server = Server("https://gpu.example:8443", "key")
    lines = [
        protocol.format_request(protocol.SegmentRequest(1, "folder", 300.0, server)),
        protocol.format_request(protocol.CancelRequest(2)),
        protocol.format_request(protocol.GreetRequest(3, server)),
        protocol.format_message(protocol.hello_event()),
        protocol.format_message(protocol.error_event(4, ServerError("No answer."), "Traceback")),
    ]
    paths = [folder / f"{number}.{'event' if number > 2 else 'request'}" for number in range(len(lines))]
    for path, line in zip(paths, lines, strict=True):
        path.write_text(line)
    return paths


def _line(path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".request":
        protocol.parse_request(content)
        return
    try:
        protocol.error_from_event(protocol.parse_event(content.decode("utf-8", "replace")))
    except ValueError as error:  # goes into the log
        raise ServerError(str(error)) from error


def _handed(folder: Path) -> list[Path]:
    voxels = np.arange(120, dtype=np.int16).reshape(SHAPE)
    write_request(folder, [SourceImage("a", voxels, GRID)], protocol.Order("tiny", Options()))
    return [folder / "request.json", folder / "request_0.npy"]


def _dicomweb(folder: Path) -> list[Path]:
    write_series(folder / "series", np.zeros((2, 8, 8), np.int16), replace(GRID, size=(8, 8, 2)))
    file = sorted((folder / "series").iterdir())[0]
    found: dict[str, Any] = {
        dicomweb.STUDY_UID: {"vr": "UI", "Value": ["1.2.3"]},
        "00100020": {"vr": "LO", "Value": ["4711"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    }
    listed = json.dumps([found]).encode()
    metadata = json.dumps([pydicom.dcmread(file, stop_before_pixels=True).to_json_dict()]).encode()
    parts = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--edge--\r\n"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}
    contents = {
        "studies": _http("HTTP 200", {"Content-Type": "application/dicom+json"}, listed),
        "metadata": _http("HTTP 200", {"Content-Type": "application/dicom+json"}, metadata),
        "series": _http("HTTP 200", kind, parts),
        "instance": _http("HTTP 200", kind, parts),
    }
    paths = [folder / f"{name}.dicomweb" for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


class _Scripted(HTTPAdapter):
    """Answers every request with the same bytes."""

    def __init__(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__()
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        self._body = body

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        raw = HTTPResponse(io.BytesIO(self._body), self._headers, 200, preload_content=False)
        return self.build_response(request, raw)


def _ask_archive(path: Path) -> None:
    _, headers, body = _parts(path.read_bytes())
    dicomweb._PAUSES_S = ()  # type: ignore[assignment]
    archive = dicomweb.Archive("http://127.0.0.1/dicomweb", dicomweb.Credentials())
    archive._client._session.mount("http://", _Scripted(headers, body))
    uids = ("1.2.3", "1.2.3.4")
    if path.stem == "studies":
        archive.studies({"StudyDate": "20260101"})
    elif path.stem == "metadata":
        archive.call(
            "Reading",
            lambda client: dicomweb.checked_items([client.retrieve_instance_metadata(*uids, "1.5")]),
        )
    elif path.stem == "series":
        found = archive.call(
            "Reading", lambda client: list(client.iter_series(*uids, media_types=dicomweb.ANY_SYNTAX))
        )
        if not found:
            raise ArchiveError("nothing")
    else:
        media = {"media_types": dicomweb.ANY_SYNTAX}
        archive.call("Reading", lambda client: client.retrieve_instance(*uids, "1.5", **media))


TARGETS = (
    Target("request to mednext serve", _requests, _request),
    Target("answer of mednext serve", _answers, _answer),
    Target("line of the worker's pipe", _lines, _line),
    Target("request in a folder", _handed, lambda path: protocol.read_request(path.parent)),
    Target("answer of a DICOMweb archive", _dicomweb, _ask_archive),
)
