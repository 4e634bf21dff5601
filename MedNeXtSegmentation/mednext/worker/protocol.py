"""The protocol between Slicer and the worker: voxels as files, requests and events as lines of JSON.

For each run the client writes the files of `writing_request` into a new folder; the worker maps the voxels
into memory and adds the files of `hand_over.HandedOver`. Requests go to the worker's standard input, one per
line:

    {"request": "segment", "run": 1, "folder": "/tmp/mednext_...", "release_after_s": 300}
    {"request": "cancel", "run": 1}
    {"request": "batch", "run": 2, "folder": "/tmp/mednext_...", "release_after_s": 300}
    {"request": "provide", "run": 2, "folder": "/tmp/mednext_.../case_0"}
    {"request": "greet", "run": 3, "server": {"address": "https://...", "key": "...", "certificate": ""}}

Events come from its standard output, one per line. `hello` is the first, `ready` reports that torch is
imported, and each run ends with `done` or `error`. The worker answers a request at once with `accepted`, or
with the stage "starting" while it imports torch. While it imports or segments, it sends a `heartbeat` every
second.

    {"event": "hello", "protocol": "6-3f09c2a1", "pid": 4711, "mednext": "0.1.0"}
    {"event": "ready", "torch": "2.6.0"}
    {"event": "devices", "devices": [{"name": "cuda", "title": "NVIDIA H200", "memory_bytes": 150754820096}]}
    {"event": "accepted", "run": 1}
    {"event": "heartbeat"}
    {"event": "progress", "run": 1, "stage": "network", "done": 3, "total": 8, "remaining_s": 4.2}
    {"event": "done", "run": 1}
    {"event": "error", "run": 1, "error": "ChannelError", "message": "The model needs ...", "details": "..."}
    {"event": "wanted", "run": 2, "case": "scene/T1"}
    {"event": "row", "run": 2, "number": 1, "total": 3, "row": {"case": "scene/T1", "status": "done", ...}}
    {"event": "greeted", "run": 3, "lines": ["The connection works: ..."], "models": [{"name": "tiny", ...}]}
    {"event": "released"}

The stages are "sending" (reported by the client), "starting" (torch is still being imported), "reading",
"locating" (the structure in a whole image), those of `inference.progress`, and on a server those of
`remote.segment`; an event of progress may have a `remark` for the user. `devices` lists the devices beside
the CPU. In an error, the run null means that the worker did not understand a request, or cannot work at all.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__, errors
from ..batch.case import Case
from ..batch.report import Row
from ..images.description.image_description import ImageDescription
from ..images.geometry import Geometry
from ..images.source_image import SourceImage
from ..inference.options import Options
from ..inference.progress import Progress
from ..model.description import Model
from ..model.model_file import parse_model
from ..remote.address import Server
from ..system.json_reading import Fields
from ..system.json_values import from_json
from .exchange import read_object, writing_object
from .hand_over import Wishes

VERSION = 6
HEARTBEAT_S = 1.0
RELEASE_AFTER_S = 300.0  # longer than a pause between two cases; then other programs may need the device

REQUEST_FILE = "request.json"
ERROR_FILE = "error.json"

_LONGEST_PAUSE_S = 1e6
_LARGEST_RUN = 2**53

Message = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """The model to segment with, its name or its folder, and the options of the run.

    A `description` is that of a server's model as the client has shown it: the server refuses another one.
    """

    model: str
    options: Options = field(default_factory=Options)
    description: Model | None = None

    def to_json(self) -> dict[str, Any]:
        """The order as JSON values."""
        description = self.description and self.description.to_json()
        return {"model": self.model, "options": self.options.to_json(), "description": description}

    @classmethod
    def from_json(cls, data: Any) -> Order:
        """The inverse of `to_json`. Raises `EngineProcessError` and `OptionError`."""
        fields = Fields(data, "order", errors.EngineProcessError)
        told = fields.take("description")
        description = None if told is None else model_of(told)
        return cls(fields.text("model"), Options.from_json(fields.take("options")), description)


@dataclass(frozen=True)
class SegmentRequest:
    """Segment the images in `folder`; free the device after `release_after_s` seconds without a request.

    With a `server` the networks run there; its key passes through the pipe, and never lies on a disk.
    """

    run: int
    folder: str
    release_after_s: float = RELEASE_AFTER_S
    server: Server | None = None


@dataclass(frozen=True)
class CancelRequest:
    """Cancel a run; drop it if it has not begun."""

    run: int


@dataclass(frozen=True)
class BatchRequest:
    """Carry out the `batch_request.BatchJob` in `folder`; see `SegmentRequest`."""

    run: int
    folder: str
    release_after_s: float = RELEASE_AFTER_S
    server: Server | None = None


@dataclass(frozen=True)
class GreetRequest:
    """Ask a server for its versions, limits and models; the event "greeted" has them, see `Greeting`."""

    run: int
    server: Server


@dataclass(frozen=True)
class ProvideRequest:
    """The answer to the event "wanted": `folder` holds the files of `writing_request`, or `ERROR_FILE`."""

    run: int
    folder: str


Work = SegmentRequest | BatchRequest | GreetRequest
Request = Work | CancelRequest | ProvideRequest

_NAMES: dict[type, str] = {
    SegmentRequest: "segment",
    CancelRequest: "cancel",
    BatchRequest: "batch",
    GreetRequest: "greet",
    ProvideRequest: "provide",
}
_CROSSING = (*_NAMES, Server, Order, Options, Wishes, SourceImage, Geometry, ImageDescription, Case, Row)


def language() -> str:
    """The version of the protocol, which a worker sends first: another one would be misread.

    It follows the fields of the classes that cross; raise `VERSION` for a change that no field shows.
    """
    names = [f"{kind.__name__}.{name}" for kind in _CROSSING for name in vars(kind)["__dataclass_fields__"]]
    return f"{VERSION}-{zlib.crc32(' '.join(names).encode()):08x}"


LANGUAGE = language()


@dataclass(frozen=True)
class Greeting:
    """The answer of a server: lines for people, and the descriptions of its models."""

    lines: tuple[str, ...]
    models: tuple[Model, ...]

    def to_event(self, run: int) -> Message:
        """The event that tells it."""
        models = [model.to_json() for model in self.models]
        return {"event": "greeted", "run": run, "lines": self.lines, "models": models}

    @classmethod
    def from_event(cls, event: Message) -> Greeting:
        """The inverse of `to_event`. Raises `EngineProcessError` for another event."""
        try:
            return cls(tuple(event["lines"]), tuple(map(model_of, event["models"])))
        except (KeyError, TypeError) as cause:
            raise errors.EngineProcessError(f"The worker's greeting is not whole: {cause!r}.") from cause


def model_of(told: Any) -> Model:
    """A description that has crossed a pipe or a file. Raises `EngineProcessError` for another value."""
    return parse_model(Fields(told, "model", errors.EngineProcessError))


def format_message(message: Message) -> str:
    """A request or an event as a line."""
    return json.dumps(message) + "\n"


def format_request(request: Request) -> str:
    """A request as a line."""
    return format_message({"request": _NAMES[type(request)], **asdict(request)})


def parse_request(line: str | bytes) -> Request:
    """The request in a line.

    Raises:
        EngineProcessError: the line is not a request that this version knows.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise errors.EngineProcessError(f"The request {line[:200]!r} is not JSON: {cause}.") from cause
    fields = Fields(data, "request", errors.EngineProcessError)
    kind = fields.text("request", choices=tuple(_NAMES.values()))
    run = fields.integer("run", 0, _LARGEST_RUN)
    request: Request = CancelRequest(run)
    if kind == "provide":
        request = ProvideRequest(run, fields.text("folder"))
    elif kind == "greet":
        request = GreetRequest(run, _server(fields.take("server")))
    elif kind != "cancel":
        work = SegmentRequest if kind == "segment" else BatchRequest
        folder, pause_s = fields.text("folder"), fields.number("release_after_s", 0, _LONGEST_PAUSE_S)
        server = fields.take("server", None)
        request = work(run, folder, pause_s, None if server is None else _server(server))
    fields.finish()
    return request


def _server(data: Any) -> Server:
    try:
        return from_json(Server, data)
    except (ValueError, errors.OptionError) as cause:
        raise errors.EngineProcessError(f"The request has no usable server: {cause}") from cause


def parse_event(line: str) -> Message:
    """The event in a line. Raises ValueError when it is not an event."""
    try:
        event = json.loads(line)
    except RecursionError as cause:
        raise ValueError(f"not an event: {line[:200]!r}") from cause
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError(f"not an event: {line[:200]!r}")
    if event["event"] == "error" and not isinstance(event.get("message"), str):
        raise ValueError(f"an error without a message: {line[:200]!r}")
    if event["event"] == "progress":
        from_json(Progress, {name: told for name, told in event.items() if name not in ("event", "run")})
    return event


def hello_event() -> Message:
    """The first event of a worker."""
    return {"event": "hello", "protocol": LANGUAGE, "pid": os.getpid(), "mednext": __version__}


def progress_event(run: int, stage: str) -> Message:
    """The event of the beginning of a stage without steps."""
    return {"event": "progress", "run": run, "stage": stage, "done": 0, "total": 1, "remaining_s": None}


def error_event(run: int | None, error: errors.MedNeXtError, details: str = "") -> Message:
    """The event that carries an error to the other side, with details for a developer."""
    return {"event": "error", "run": run, **errors.to_json(error), "details": details}


def error_from_event(event: Message) -> errors.MedNeXtError:
    """The error in an event, of its original class, with the details as a note."""
    error = errors.from_json(event)
    if event.get("details"):
        error.add_note(str(event["details"]))
    return error


@dataclass(frozen=True)
class _Handed:
    """The content of `REQUEST_FILE`."""

    channels: tuple[SourceImage, ...]
    order: Order
    wishes: Wishes


def writing_request(
    folder: Path, channels: Sequence[SourceImage], order: Order, wishes: Wishes
) -> Iterator[None]:
    """Write all files of a request into an existing folder; yield before each plane of voxels.

    Raises OSError when the folder cannot be written, or the disk is full.
    """
    return writing_object(folder, REQUEST_FILE, _Handed(tuple(channels), order, wishes))


def read_request(folder: Path) -> tuple[list[SourceImage], Order, Wishes]:
    """The request in a folder; its voxels stay on disk, mapped into memory.

    Raises:
        EngineProcessError: a file is missing, or not as `writing_request` writes it.
    """
    handed = read_object(_Handed, folder, REQUEST_FILE)
    return list(handed.channels), handed.order, handed.wishes
