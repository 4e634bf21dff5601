"""The language between client and server: JSON documents, and voxels in compressed pieces with checksums.

    GET    /v1/hello                      versions, limits, models
    GET    /v1/models/NAME                the model's description
    POST   /v1/jobs                       an `Application` -> {"job": ID, "piece_bytes": N}
    PUT    /v1/jobs/ID/images/0?offset=N  a piece of the first image; 409 tells the offset to go on from
    POST   /v1/jobs/ID/start              {"sha256": [...]} of the images -> queued
    GET    /v1/jobs/ID                    a `JobState`
    GET    /v1/jobs/ID/labels?offset=N    a piece of an array of the result; also `uncertainty`
    DELETE /v1/jobs/ID                    cancel; or, after the last piece, the result has arrived

Every request has the headers `Authorization: Bearer KEY` and `PROTOCOL_HEADER`. A piece is a zlib stream with
the SHA-256 of its voxels in `SHA256_HEADER`; voxels are little-endian, in the order `(C, Z, Y, X)`. An error
is a document of `errors.to_json`. No name, path, date or attribute of an image crosses the wire: images are
called by `alias`, and the client puts the names back into the server's sentences.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import MedNeXtError, OptionError, ServerError
from ..images.geometry import Geometry
from ..inference.options import Options
from ..system.json_reading import Fields

PROTOCOL = 1
PREFIX = "/v1"
PROTOCOL_HEADER = "X-MedNeXt-Protocol"
SHA256_HEADER = "X-MedNeXt-SHA256"
BYTES_HEADER = "X-MedNeXt-Bytes"

PIECE_BYTES = 4 * 2**20
LARGEST_DOCUMENT = 16 * 2**20

IMAGE_TYPES = ("uint8", "int16", "float32")  # those of `Volume`
LABEL_TYPES = ("uint8", "uint16")

STATES = ("uploading", "queued", "running", "done", "failed")
ARRAYS = ("labels", "uncertainty")  # of a result

_LONGEST_AXIS = 2**15
_MOST_IMAGES = 64
_FURTHEST_MM = 1e6
_QUICK = 1  # zlib's level
_SLACK = 4096  # that zlib may add to random bytes


def alias(number: int) -> str:
    """The name on the wire of the image of this number; no file has one like it."""
    return f"\u00abimage {number + 1}\u00bb"


def sha256_of(voxels: Any) -> str:
    """The SHA-256 of bytes or of a contiguous array."""
    return hashlib.sha256(voxels).hexdigest()


def pack(voxels: memoryview) -> bytes:
    """A piece of voxels as it crosses the wire."""
    return zlib.compress(voxels, _QUICK)


def unpack(packed: bytes, size: int, sha256: str) -> bytes:
    """The `size` bytes in a piece; never more are unpacked. Raises ValueError when they are others."""
    decompressor = zlib.decompressobj()
    try:
        voxels = decompressor.decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(f"the piece is damaged: {error}") from error
    if len(voxels) != size or not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"the piece does not hold {size} bytes")
    if sha256_of(voxels) != sha256:
        raise ValueError("the checksum of the piece is another one")
    return voxels


def most_packed(size: int) -> int:
    """The largest piece for so many bytes of voxels."""
    return size + size // 1000 + _SLACK


def little_endian(array: np.ndarray) -> np.ndarray:
    """The array as it crosses the wire, contiguous; a copy only where it has to be."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def raw(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, as a view."""
    return memoryview(array).cast("B")


@dataclass(frozen=True)
class ImageOutline:
    """One image without its voxels: `channels` on one grid, all of one type."""

    geometry: Geometry
    type: str
    channels: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape `(C, Z, Y, X)`."""
        return (self.channels, *self.geometry.shape)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return math.prod(self.shape) * np.dtype(self.type).itemsize

    def to_json(self) -> dict[str, Any]:
        """The outline as JSON values."""
        grid = self.geometry
        places = {name: list(getattr(grid, name)) for name in ("size", "spacing", "origin", "direction")}
        return {**places, "type": self.type, "channels": self.channels}

    @classmethod
    def read(cls, fields: Fields) -> ImageOutline:
        """The inverse of `to_json`. Raises the errors of `Fields` and of `Geometry`."""
        i, j, k = fields.integers("size", 1, _LONGEST_AXIS, length=3)
        spacing = fields.numbers("spacing", 0, _FURTHEST_MM, 3)
        origin = fields.numbers("origin", -_FURTHEST_MM, _FURTHEST_MM, 3)
        direction = fields.numbers("direction", -2, 2, 9)
        outline = cls(
            Geometry((i, j, k), _three(spacing), _three(origin), direction),
            fields.text("type", choices=IMAGE_TYPES),
            fields.integer("channels", 1, _MOST_IMAGES),
        )
        fields.finish()
        return outline


@dataclass(frozen=True)
class Application:
    """A request for a run: the model by name and `provenance.model_sha256`, options, and images in order."""

    model: str
    model_sha256: str
    options: Options
    images: tuple[ImageOutline, ...]

    @property
    def size(self) -> int:
        """The number of bytes of all images."""
        return sum(image.size for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """The application as JSON values."""
        return {
            "model": self.model,
            "model_sha256": self.model_sha256,
            "options": self.options.to_json(),
            "images": [image.to_json() for image in self.images],
        }

    @classmethod
    def read(cls, data: Any) -> Application:
        """The inverse of `to_json`. Raises a `MedNeXtError` for other data."""
        fields = Fields(data, "request", OptionError)
        model, sha256 = fields.text("model"), fields.text("model_sha256", pattern="[0-9a-f]{64}")
        try:
            options = Options.from_json(fields.take("options"))
        except ValueError as error:
            raise OptionError(
                f"The options of the request are not those of this version: {error}."
            ) from error
        images = fields.objects("images", ImageOutline.read, minimum=1)
        fields.finish()
        if len(images) > _MOST_IMAGES:
            raise OptionError(f"A request has at most {_MOST_IMAGES} images.")
        return cls(model, sha256, options, images)


@dataclass(frozen=True)
class ArrayOutline:
    """An array of a result without its voxels, on the grid of the first image."""

    type: str
    sha256: str

    @classmethod
    def read(cls, fields: Fields) -> ArrayOutline:
        """The inverse of `asdict`."""
        outline = cls(fields.text("type", choices=LABEL_TYPES), fields.text("sha256", pattern="[0-9a-f]{64}"))
        fields.finish()
        return outline


@dataclass(frozen=True)
class JobState:
    """The state of a job, one of `STATES`.

    Attributes:
        position: in the queue, 1 for the next one; 0 elsewhere.
        remaining_s: seconds to the end of the waiting or of the stage, where they can be estimated.
        stage, done, total: as in `inference.progress.Progress`, while it runs.
        remarks: news for the user.
        error: why it failed.
        arrays: those of the result, by their names in `ARRAYS`.
        provenance: of the result.
    """

    state: str
    position: int = 0
    remaining_s: float | None = None
    stage: str = ""
    done: int = 0
    total: int = 0
    remarks: tuple[str, ...] = ()
    error: Mapping[str, str] | None = None
    arrays: Mapping[str, ArrayOutline] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, data: Any) -> JobState:
        """The inverse of `to_json`. Raises `ServerError` for other data."""
        fields = Fields(data, "the server's answer", ServerError)
        state = fields.text("state", choices=STATES)
        position = fields.integer("position", 0, 2**31)
        remaining_s = fields.number("remaining_s", 0) if fields.has("remaining_s") else None
        stage = fields.text("stage", empty=True)
        done, total = fields.integer("done", 0, 2**31), fields.integer("total", 0, 2**31)
        remarks = _texts(fields.take("remarks"))
        error = _words(fields.take("error")) if fields.has("error") else None
        arrays = fields.fields("arrays")
        outlines = {name: ArrayOutline.read(arrays.fields(name)) for name in ARRAYS if arrays.has(name)}
        provenance = _words(fields.take("provenance"))
        return cls(state, position, remaining_s, stage, done, total, remarks, error, outlines, provenance)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


def _words(data: Any) -> dict[str, str]:
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise _odd("a list of words")
    return data


def _texts(data: Any) -> tuple[str, ...]:
    if not isinstance(data, list) or not all(isinstance(value, str) for value in data):
        raise _odd("a list of sentences")
    return tuple(data)


def _odd(wanted: str) -> MedNeXtError:
    return ServerError(f"The server's answer is not {wanted}: is it of another version?")
