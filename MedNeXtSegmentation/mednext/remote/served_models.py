"""The server's answer to a greeting, and the models that it has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..errors import BundleFormatError, ServerError, UnknownModelError
from ..library.folder_locations import expanded
from ..library.model_by_name import load_bundle
from ..model.description import Model
from ..model.model_file import parse_model
from ..system.json_reading import Fields
from .address import Server
from .connection import Connection, Patience

logger = logging.getLogger(__name__)

_MOST_ENGINES = 100_000


@dataclass(frozen=True)
class ServedModel:
    """A model of a server; `sha256` is `provenance.model_sha256` of it."""

    name: str
    version: str
    title: str
    sha256: str


@dataclass(frozen=True)
class Hello:
    """A server's answer to a greeting.

    Attributes:
        mednext: its version.
        engines: the number of runs at the same time.
        waiting: runs in the queue.
        largest_bytes: of the images of one run.
        longest_s: seconds that a run may take.
    """

    mednext: str
    engines: int
    waiting: int
    largest_bytes: int
    longest_s: float
    models: tuple[ServedModel, ...]

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """The answer for people."""
        names = ", ".join(f"{model.name} {model.version}" for model in self.models) or "none"
        other = "" if self.mednext == __version__ else f" (here: {__version__})"
        return [
            f"The connection works: mednext {self.mednext}{other}, {self.engines} run(s) at the same time, "
            f"{self.waiting} waiting.",
            f"Models: {names}.",
        ]


def greet(
    server: Server,
    cancelled: Callable[[], bool] | None = None,
    patience: Patience | None = None,
) -> Hello:
    """Ask a server for its versions, limits and models; a broken line is not tried again.

    Raises `ServerError` and `ServerAccessError`.
    """
    connection = Connection(server, cancelled, patience)
    fields = Fields(connection.ask("GET", "/hello", lost_s=0).document(), "the server's answer", ServerError)
    hello = Hello(
        fields.text("mednext"),
        fields.integer("engines", 0, _MOST_ENGINES),
        fields.integer("waiting", 0, 2**31),
        fields.integer("largest_bytes", 1, 2**60),
        fields.number("longest_s", 0),
        fields.objects("models", _served, default=()),
    )
    fields.finish()
    return hello


def served_model(
    server: Server,
    name_or_path: str,
    cancelled: Callable[[], bool] | None = None,
    patience: Patience | None = None,
) -> Model:
    """The description of a model for a run on a server: the one in a folder here, else the server's by name.

    Raises:
        UnknownModelError: the server has no such model.
        ServerError, ServerAccessError: no answer.
    """
    path = expanded(name_or_path)
    if path.name != name_or_path:
        return load_bundle(path).model
    return _described(Connection(server, cancelled, patience), name_or_path)


def described_models(
    server: Server,
    hello: Hello,
    cancelled: Callable[[], bool] | None = None,
    patience: Patience | None = None,
) -> tuple[Model, ...]:
    """The descriptions of all models of a server, without those that this version does not understand.

    Raises `ServerError` and `ServerAccessError`.
    """
    connection, models = Connection(server, cancelled, patience), []
    for served in hello.models:
        try:
            models.append(_described(connection, served.name))
        except (BundleFormatError, UnknownModelError) as error:  # of a newer version, or removed meanwhile
            logger.warning('The model "%s" of %s is left out: %s', served.name, server.name, error)
    return tuple(models)


def _described(connection: Connection, name: str) -> Model:
    answer = connection.ask("GET", f"/models/{quote(name, safe='')}", lost_s=0)
    return parse_model(
        Fields(answer.document(), f"model.json of {connection.server.name}", BundleFormatError)
    )


def _served(fields: Fields) -> ServedModel:
    model = ServedModel(*(fields.text(name, empty=True) for name in ("name", "version", "title", "sha256")))
    fields.finish()
    return model
