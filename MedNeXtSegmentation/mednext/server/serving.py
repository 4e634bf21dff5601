"""Put a server together, and run it until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping

from ..model.bundle import Bundle
from .app import Service, create_app
from .dispatch import Dispatcher, Engines
from .jobs import JobTable, Limits
from .keys import KeyFile
from .listening import Place, listening_socket, web_server
from .ray_engines import Fleet, ray_engines


def service_of(engines: Engines, keys: KeyFile, limits: Limits, bundles: Mapping[str, Bundle]) -> Service:
    """A server without its sockets."""
    table = JobTable(limits)
    return Service(keys, Dispatcher(engines, bundles, table), table)


def serve_until_stopped(
    place: Place,
    keys: KeyFile,
    limits: Limits,
    bundles: Mapping[str, Bundle],
    fleet: Fleet,
    say: Callable[[str], None],
) -> None:
    """Serve until Ctrl+C or SIGTERM; `say` gets the address once the engines are ready.

    Raises the errors of `listening_socket` and `ray_engines`.
    """
    with _log(), listening_socket(place) as listener:
        say("Starting the engines.")
        with ray_engines(fleet, limits.largest_bytes) as engines, _stopping():
            service = service_of(engines, keys, limits, bundles)
            host, port = listener.getsockname()[:2]
            say(
                f"Ready on {place.scheme}://{host}:{port}: {engines.count} run(s) at the same time, "
                f"models {', '.join(bundles)}."
            )
            server = web_server(create_app(service), place)
            asyncio.run(server.serve(sockets=[listener]))


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """End the block quietly on Ctrl+C and SIGTERM, so that the engines end in order, too."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, former)


@contextlib.contextmanager
def _log() -> Iterator[None]:
    """The server's log on standard error: owners, models, sizes and times; nothing about an image."""
    ours = logging.getLogger("mednext.server")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.propagate = True
