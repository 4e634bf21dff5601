"""The web application of a server: the requests of `remote.wire`, each for the owner of its key alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..errors import (
    InputError,
    MedNeXtError,
    OptionError,
    ServerAccessError,
    ServerBusyError,
    ServerError,
    UnknownModelError,
    UnsupportedImageError,
    to_json,
)
from ..remote import wire
from ..remote.served_models import Hello
from ..system.json_reading import Fields, parse_json
from .dispatch import Dispatcher
from .faults import where
from .jobs import Job, JobTable, NoSuchJobError
from .keys import KeyFile, Owner

logger = logging.getLogger(__name__)

SLOWEST_REQUEST_S = 300.0  # for a whole request and its answer; pieces are small

_LARGEST_DOCUMENT = 2**20  # of a client
_SWEEP_S = 1.0
_WRITTEN_AT_ONCE = 2**18  # of an answer, so that a client that does not read holds no more
_BEARER = "bearer "

Handler = Callable[["Service", Owner, Request], Awaitable[Response]]


class Service:
    """A server without its sockets: keys, jobs, queue."""

    def __init__(self, keys: KeyFile, dispatcher: Dispatcher, table: JobTable) -> None:
        self.keys = keys
        self.dispatcher = dispatcher
        self.table = table

    def owner_of(self, request: Request) -> Owner:
        """The owner of the request's key. Raises `ServerAccessError`."""
        told = request.headers.get("authorization", "")
        key = told[len(_BEARER) :].strip() if told.lower().startswith(_BEARER) else ""
        owner = self.keys.owner_of(key)
        if owner is None:
            raise ServerAccessError(
                "The key is not one of this server, or was revoked: ask its administrator."
            )
        spoken = request.headers.get(wire.PROTOCOL_HEADER, "")
        if spoken != str(wire.PROTOCOL):
            raise _VersionError(
                f"This server (mednext {__version__}) speaks version {wire.PROTOCOL} of the protocol, the "
                f"client version {spoken[:20] or 'none'}: update the older one."
            )
        return owner

    async def sweep(self) -> None:
        """Drop the jobs of lost clients and revoked keys, again and again."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.table.sweep(self.keys.owners())


class _VersionError(ServerAccessError):
    """Client and server speak different versions of the protocol."""


_STATUS: tuple[tuple[type[MedNeXtError], int], ...] = (
    (_VersionError, 426),
    (ServerAccessError, 401),
    (ServerBusyError, 503),
    (NoSuchJobError, 404),
    (UnknownModelError, 422),
    (UnsupportedImageError, 413),
    (InputError, 422),
)


def create_app(service: Service) -> ASGIApp:
    """The application of a service. Its life is that of the queue's tasks."""

    @contextlib.asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(service.sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await service.dispatcher.close()

    def route(path: str, handler: Handler, method: str) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _answered(service, handler, request)

        return Route(f"{wire.PREFIX}{path}", endpoint, methods=[method])

    routes = [
        Route("/health", _health),
        route("/hello", _hello, "GET"),
        route("/models/{name}", _model, "GET"),
        route("/jobs", _apply, "POST"),
        route("/jobs/{job}", _state, "GET"),
        route("/jobs/{job}", _drop, "DELETE"),
        route("/jobs/{job}/images/{number:int}", _take_piece, "PUT"),
        route("/jobs/{job}/start", _start, "POST"),
        route("/jobs/{job}/{array}", _give_piece, "GET"),
    ]
    app = Starlette(routes=routes, lifespan=life)
    app.router.redirect_slashes = False  # to an address of the client's making, and its query must be UTF-8
    return _Deadline(app)


class _Deadline:
    """Ends a request that takes too long, whether its client does not write or does not read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SLOWEST_REQUEST_S):
                await self._app(scope, receive, send)


class _Json(JSONResponse):
    """JSON in ASCII: a refusal may quote a lone surrogate of its request, which no encoding has."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


async def _answered(service: Service, handler: Handler, request: Request) -> Response:
    try:
        return await handler(service, service.owner_of(request), request)
    except MedNeXtError as error:
        return _refusal(error)
    except ClientDisconnect:
        return PlainTextResponse("", 400)  # nobody reads it
    except Exception as error:  # noqa: BLE001  # boundary: every request gets an answer, and the log the traceback
        logger.error("A request failed by a fault of this program.\n%s", where(error))
        return _refusal(
            ServerError(f"The server has a fault ({type(error).__name__}): tell its administrator."), 500
        )


def _refusal(error: MedNeXtError, status: int | None = None) -> Response:
    if status is None:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 400)
    told = to_json(error)
    if isinstance(error, _VersionError | NoSuchJobError):
        told["error"] = type(error).__mro__[1].__name__  # the class that the other side knows
    headers = {"Retry-After": "2"} if status == 503 else {}
    return _Json(told, status, headers)


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _hello(service: Service, _owner: Owner, _request: Request) -> Response:
    dispatcher, limits = service.dispatcher, service.table.limits
    hello = Hello(
        __version__,
        dispatcher.engine_count,
        len(dispatcher.waiting),
        limits.largest_bytes,
        limits.longest_s,
        dispatcher.described(),
    )
    return _Json(hello.to_json())


async def _model(service: Service, _owner: Owner, request: Request) -> Response:
    return _Json(service.dispatcher.bundle(request.path_params["name"]).model.to_json())


async def _apply(service: Service, owner: Owner, request: Request) -> Response:
    application = wire.Application.read(await _document(request))
    service.dispatcher.check(application)
    job = service.table.open(owner, application)
    return _Json({"job": job.id, "piece_bytes": wire.PIECE_BYTES}, 201)


async def _take_piece(service: Service, owner: Owner, request: Request) -> Response:
    job, number = _job(service, owner, request), request.path_params["number"]
    if job.state.state != "uploading" or number >= len(job.images):
        raise ServerError("The run accepts no more voxels: begin again.")
    size = _number(request.headers.get(wire.BYTES_HEADER, ""), 1, wire.PIECE_BYTES)
    offset = _number(request.query_params.get("offset", ""), 0, job.images[number].nbytes)
    packed = await _body(request, wire.most_packed(size))
    try:
        voxels = await asyncio.to_thread(
            wire.unpack, packed, size, request.headers.get(wire.SHA256_HEADER, "")
        )
    except ValueError as error:
        logger.info("Run %d: a piece was refused, %s.", job.number, error)
        return _Json({"received": job.received[number]}, 409)
    if job.state.state != "uploading" or job.dropped:  # meanwhile
        raise NoSuchJobError("The run was cancelled.")
    before = job.received[number]
    received = job.take_piece(number, offset, voxels)
    return _Json({"received": received}, 200 if received > before else 409)


async def _start(service: Service, owner: Owner, request: Request) -> Response:
    job = _job(service, owner, request)
    fields = Fields(await _document(request), "request", OptionError)
    sums = list(fields.texts("sha256"))
    fields.finish()
    if job.state.state == "uploading":  # otherwise the first answer was lost on its way
        await asyncio.to_thread(job.check_complete, sums)
        if job.state.state == "uploading" and not job.dropped:
            service.dispatcher.start(job)
    return _Json(service.dispatcher.state_of(job).to_json())


async def _state(service: Service, owner: Owner, request: Request) -> Response:
    return _Json(service.dispatcher.state_of(_job(service, owner, request)).to_json())


async def _give_piece(service: Service, owner: Owner, request: Request) -> Response:
    job = _job(service, owner, request)
    array = job.arrays.get(request.path_params["array"])
    if array is None:
        raise ServerError("The run has no such result.")
    voxels = wire.raw(wire.little_endian(array))
    offset = _number(request.query_params.get("offset", ""), 0, len(voxels) - 1)
    size = _number(request.query_params.get("size", ""), 1, min(wire.PIECE_BYTES, len(voxels) - offset))
    piece = voxels[offset : offset + size]
    packed, sha256 = await asyncio.to_thread(lambda: (wire.pack(piece), wire.sha256_of(piece)))

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(packed), _WRITTEN_AT_ONCE):
            yield packed[start : start + _WRITTEN_AT_ONCE]

    headers = {
        "Content-Length": str(len(packed)),
        "Cache-Control": "no-store",
        wire.SHA256_HEADER: sha256,
    }
    return StreamingResponse(parts(), headers=headers, media_type="application/octet-stream")


async def _drop(service: Service, owner: Owner, request: Request) -> Response:
    job = _job(service, owner, request)
    reason = "fetched" if job.state.state == "done" else "ended by its client"
    service.table.drop(job, reason)
    return _Json({})


def _job(service: Service, owner: Owner, request: Request) -> Job:
    return service.table.find(request.path_params["job"], owner)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high):
        raise OptionError(f"A number of the request must be {low} to {high}.")
    return int(text)


async def _document(request: Request) -> Any:
    try:
        return parse_json(await _body(request, _LARGEST_DOCUMENT))
    except (ValueError, RecursionError) as error:
        raise OptionError("The request is not JSON.") from error


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise OptionError(f"The request has more than {most} bytes.")
    return bytes(body)
