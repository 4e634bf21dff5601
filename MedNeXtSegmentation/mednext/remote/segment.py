"""Segment on a server: as `inference.segment.segment` does, with the networks elsewhere, without torch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import MedNeXtError, ServerBusyError, ServerError, from_json
from ..images.volume import Volume
from ..inference.options import Options
from ..inference.progress import Progress
from ..inputs.checked_volumes import checked_volumes
from ..model.description import Model
from ..model.sides import structures_of_result
from ..segmentation.provenance import model_sha256
from ..segmentation.result import Segmentation
from ..segmentation.uncertainty_storage import to_float32
from ..system.cancellation import wait
from . import wire
from .address import Server
from .connection import Answer, Connection, Patience, Request, UnknownJobError

logger = logging.getLogger(__name__)

_ATTEMPTS = 3  # of a whole run, after the server has lost it
_SMALLEST_PIECE = 2**18
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.1, 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 10.0  # before a busy server is asked again
_TRIES = 5  # of one piece that arrives damaged
_CONFLICT = 409

Tell = Callable[[Progress], None]


def segment(
    volumes: Volume | Iterable[Volume],
    model: Model,
    server: Server,
    options: Options | None = None,
    *,
    progress: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
    patience: Patience | None = None,
) -> Segmentation:
    """Segment a volume with a model on a server.

    The images are checked here as in a local run. Voxels, grids and options leave this computer; names,
    dates, paths and all else that is known about an image stay.

    Args:
        volumes: as in `inference.segment.segment`.
        model: its description here or by `served_models.served_model`; the server must have the same.
        options: the device and the number of threads are the server's own.
        progress: the stages are "uploading", "queued" (`total` is the position in the queue), those of a
            local run, and "downloading".

    Returns:
        The result of a local run on the server's device; `provenance` also names the server.

    Raises:
        ServerError: the server cannot be reached, has another version, or has failed.
        MedNeXtError: those of a local run.
        Cancelled: `cancelled` answered True; the server drops the run.
    """
    options = options or Options()
    checked, warnings = checked_volumes(volumes, model, options.insist)
    warnings = tuple(
        dict.fromkeys([*(warning for volume in checked for warning in volume.warnings), *warnings])
    )
    application = wire.Application(
        model.name,
        model_sha256(model),
        replace(options, device="auto", threads=None),
        tuple(wire.ImageOutline(each.geometry, each.array.dtype.name, len(each.array)) for each in checked),
    )
    names = [volume.name(0) for volume in checked]
    run = _RemoteRun(
        application, checked, names, progress or _nothing, Connection(server, cancelled, patience)
    )
    for warning in warnings:
        run.remark(warning, "reading")
    try:
        state, arrays = run.carry_out()
    except MedNeXtError as error:
        raise type(error)(run.named(str(error))) from error
    provenance = {key: run.named(text) for key, text in state.provenance.items()}
    told = provenance.get("warning", "")
    unsaid = [warning for warning in warnings if warning not in told]
    if unsaid:
        provenance["warning"] = " ".join(filter(None, [*unsaid, told]))
    provenance["server"] = server.name
    uncertainty = arrays.get("uncertainty")
    labels, regions = structures_of_result(model.labels, model.regions, provenance)
    return Segmentation(
        arrays["labels"],
        checked[0].geometry,
        labels,
        provenance,
        None if uncertainty is None else to_float32(uncertainty),
        regions,
    ).telling_regions()


@dataclass(eq=False)
class _RemoteRun:
    """One run: upload, wait, download; from the beginning where the server has lost it."""

    application: wire.Application
    volumes: Sequence[Volume]
    names: Sequence[str]
    tell: Tell
    connection: Connection
    told: set[str] = field(default_factory=set)  # remarks that the user has heard

    def carry_out(self) -> tuple[wire.JobState, dict[str, np.ndarray]]:
        """The last state and the arrays of the result."""
        for attempt in range(_ATTEMPTS):
            path = ""
            try:
                path, piece_bytes = self._apply()
                self._upload(path, piece_bytes)
                state = self._wait(path)
                return state, self._download(path, state, piece_bytes)
            except UnknownJobError:
                if attempt == _ATTEMPTS - 1:
                    raise ServerError(
                        f"{self.connection.server.name} has lost the run {_ATTEMPTS} times: it was restarted "
                        "again and again, or the connection is broken for minutes. Begin again later."
                    ) from None
                self.remark("The server has lost the run, which begins again.")
            finally:
                if path:
                    self.connection.forget(path)
        raise AssertionError("unreachable")

    def remark(self, remark: str, stage: str = "network") -> None:
        """Tell the user a sentence, once."""
        if remark not in self.told:
            logger.warning(remark)
            self.told.add(remark)
            self.tell(Progress(stage, 0, 1, remark=remark))

    def named(self, text: str) -> str:
        """A sentence of the server with the names of the images, which it does not know."""
        for number, name in enumerate(self.names):
            text = text.replace(wire.alias(number), name)
        return text

    def _apply(self) -> tuple[str, int]:
        """Open a job, when the server has room for it; return its path and the size of pieces."""
        body = json.dumps(self.application.to_json()).encode()
        begun, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                document = self.connection.ask(
                    "POST", "/jobs", body=body, headers={"Content-Type": "application/json"}
                ).document()
                break
            except ServerBusyError:
                if time.monotonic() - begun > self.connection.patience.busy_s:
                    raise
                self.tell(Progress("queued", 0, 0))
                wait(pause, self.connection.cancelled)
                pause = min(1.5 * pause, _LONGEST_PAUSE_S)
        try:
            job, piece = str(document["job"]), int(document["piece_bytes"])
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(f"The server's answer has no job: {error!r}.") from error
        if not job.isalnum() or not _SMALLEST_PIECE <= piece <= 2**26:
            raise ServerError("The server's answer has no job: is it of another version?")
        return f"/jobs/{job}", piece

    def _upload(self, path: str, largest: int) -> None:
        total, before, sums = self.application.size, 0, []
        for number, volume in enumerate(self.volumes):
            voxels = wire.raw(wire.little_endian(volume.array))
            line, offset = _Line(largest), 0
            while offset < len(voxels):
                self.tell(_bytes("uploading", before + offset, total))
                offset = self._send_piece(f"{path}/images/{number}", voxels, offset, line)
            before += len(voxels)
            sums.append(wire.sha256_of(voxels))
        self.tell(_bytes("uploading", total, total))
        self.connection.ask("POST", f"{path}/start", body=json.dumps({"sha256": sums}).encode())

    def _send_piece(self, path: str, voxels: memoryview, offset: int, line: _Line) -> int:
        """Send the bytes at an offset, fewer after each failure; return how many the server has by now."""

        def sending() -> Request:
            piece = voxels[offset : offset + line.piece]
            told = {wire.SHA256_HEADER: wire.sha256_of(piece), wire.BYTES_HEADER: str(len(piece))}
            return Request("PUT", f"{path}?offset={offset}", wire.pack(piece), told)

        answer = self.connection.ask_with(sending, expected=(200, _CONFLICT), on_lost=line.broke)
        received = _received(answer.document(), len(voxels))
        line.note(received, len(voxels), "The images reach the server damaged")
        return received

    def _wait(self, path: str) -> wire.JobState:
        """Wait for the result, and tell the progress."""
        last, pause, changed = None, _FIRST_LOOK_S, time.monotonic()
        while True:
            state = wire.JobState.read(self.connection.ask("GET", path).document())
            if state != last:
                changed = time.monotonic()
            elif time.monotonic() - changed > self.connection.patience.unchanged_s:
                hours = self.connection.patience.unchanged_s / 3600
                raise ServerError(
                    f"Nothing has changed in the run on {self.connection.server.name} for {hours:g} h, so it "
                    "is given up: ask the server's administrator, and begin again."
                )
            for remark in state.remarks:
                self.remark(self.named(remark))
            if state.state == "failed":
                raise _error_of(state)
            if state.state == "done":
                return state
            if state.state == "queued":
                self.tell(Progress("queued", 0, state.position, state.remaining_s))
            elif state.stage:
                self.tell(Progress(state.stage, state.done, state.total, state.remaining_s))
            pause = min(pause * 1.5, _LONGEST_LOOK_S) if state == last else _FIRST_LOOK_S
            last = state
            wait(pause, self.connection.cancelled)

    def _download(self, path: str, state: wire.JobState, largest: int) -> dict[str, np.ndarray]:
        shape = self.volumes[0].geometry.shape
        wanted = {"labels", "uncertainty"} if self.application.options.uncertainty else {"labels"}
        if set(state.arrays) != wanted:
            raise ServerError(f"The server's result has {sorted(state.arrays)} instead of {sorted(wanted)}.")
        arrays = {name: np.empty(shape, outline.type) for name, outline in state.arrays.items()}
        total, before = sum(array.nbytes for array in arrays.values()), 0
        for name, array in arrays.items():
            voxels, line, offset = wire.raw(array), _Line(largest), 0
            while offset < len(voxels):
                self.tell(_bytes("downloading", before + offset, total))
                piece = self._fetch_piece(f"{path}/{name}", offset, len(voxels) - offset, line)
                voxels[offset : offset + len(piece)] = piece
                offset += len(piece)
            before += len(voxels)
            if wire.sha256_of(voxels) != state.arrays[name].sha256:
                raise ServerError(f"The {name} arrived damaged: begin again.")
        self.tell(_bytes("downloading", total, total))
        return {
            name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()
        }

    def _fetch_piece(self, path: str, offset: int, left: int, line: _Line) -> bytes:
        """The bytes at an offset, fewer after each failure; none where they arrived damaged."""

        def size() -> int:
            return min(line.piece, left)

        answer = self.connection.ask_with(
            lambda: Request("GET", f"{path}?offset={offset}&size={size()}"),
            most=wire.most_packed(size()),
            on_lost=line.broke,
        )
        piece = _unpacked(answer, size()) or b""
        line.note(offset + len(piece), offset + left, "The result arrives damaged")
        return piece


@dataclass(eq=False)
class _Line:
    """The size of pieces: halved whenever the line breaks, so that a bad line still makes progress."""

    piece: int
    failures: int = 0
    furthest: int = 0

    def broke(self) -> None:
        """Ask for less at once from now on."""
        self.piece = max(_SMALLEST_PIECE, self.piece // 2)

    def note(self, place: int, size: int, fault: str) -> None:
        """Count answers that lead no smallest piece further. Raises `ServerError` after several in a row."""
        if place >= min(size, self.furthest + _SMALLEST_PIECE):
            self.furthest, self.failures = place, 0
        else:
            self.failures += 1
        if self.failures >= _TRIES:
            raise ServerError(f"{fault}, {_TRIES} times in a row: is a proxy between here and the server?")


def _bytes(stage: str, done: int, total: int) -> Progress:
    kib = 2**10
    return Progress(stage, -(-done // kib), -(-total // kib))


def _unpacked(answer: Answer, size: int) -> bytes | None:
    """The bytes in a piece; None where it arrived damaged."""
    try:
        return wire.unpack(answer.content, size, answer.header(wire.SHA256_HEADER))
    except ValueError as error:
        logger.warning("A piece of the result is damaged: %s.", error)
        return None


def _received(document: Any, most: int) -> int:
    """The number of bytes that the server has of an image."""
    received = document.get("received") if isinstance(document, dict) else None
    if not isinstance(received, int) or not 0 <= received <= most:
        raise ServerError(f"The server says that it has received {received!r} of {most} bytes: begin again.")
    return received


def _error_of(state: wire.JobState) -> MedNeXtError:
    return from_json(
        state.error or {"error": "ServerError", "message": "The server failed without a reason."}
    )


def _nothing(_progress: Progress) -> None:
    pass
