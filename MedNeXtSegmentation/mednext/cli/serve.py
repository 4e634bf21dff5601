"""`mednext serve`: segment for other computers; `mednext serve keys`: the keys of its users."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .console import Console
from .run_options import add_output_options

if TYPE_CHECKING:
    from ..model.bundle import Bundle
    from ..server.jobs import Limits
    from ..server.keys import KeyFile
    from ..server.ray_engines import Fleet

_GIB = 2**30


def add_parser(commands: Any) -> None:
    """Add the command with its sub-commands to the parser."""
    parser = commands.add_parser(
        "serve",
        help="segment for other computers, and manage their keys",
        description="Segment for other computers, on each GPU of this machine or of a Ray cluster.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=_serve, json=False)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s: only this computer)")
    add("--port", type=int, default=8080, help="port to listen on (%(default)s)")
    add("--certificate", metavar="FILE", type=Path, help="certificate for https, PEM, with its chain")
    add("--certificate-key", metavar="FILE", type=Path, help="its key, PEM, without a password")
    add("--behind-proxy", action="store_true", help="plain http, since a proxy with https stands in front")
    add("--model", metavar="NAME|PATH", action="append", help="only this model, loaded at once; repeatable")
    add("--device", choices=("auto", "cuda", "cpu"), default="auto", help="of the engines (%(default)s)")
    add("--replicas", metavar="N", type=int, help="runs at the same time (default: one on each GPU)")
    add("--threads", metavar="N", type=int, help="threads of an engine on the CPU (default: a fair share)")
    add("--kept", metavar="N", type=int, default=2, help="models that stay loaded in an engine (%(default)s)")
    add("--ray", metavar="ADDRESS", help="run the engines on this Ray cluster instead of this machine")
    add("--largest", metavar="GIB", type=float, default=2.0, help="largest images of a run (%(default)s GiB)")
    add("--memory", metavar="GIB", type=float, help="for the images of all runs (half of the free one)")
    add("--longest", metavar="MINUTES", type=float, default=60.0, help="longest run (%(default)s min)")
    add(
        "--silence",
        metavar="MINUTES",
        type=float,
        default=5.0,
        help="drop runs of clients silent so long (5)",
    )
    add("--per-key", metavar="N", type=int, default=8, help="runs of a key at the same time (%(default)s)")
    add("--quiet", action="store_true", help="print nothing but errors")
    _add_keys_file(add)
    _add_keys(parser.add_subparsers(title="commands", metavar="COMMAND"))


def _add_keys_file(add: Any) -> None:
    add("--keys", metavar="FILE", type=Path, help="the file of the keys (default: in the models folder)")


def _add_keys(actions: Any) -> None:
    keys = actions.add_parser("keys", help="add, revoke and list keys", allow_abbrev=False)
    actions = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, text in (
        ("add", _add, "make a key for a user or a computer, and print it once"),
        ("revoke", _revoke, "refuse a key from now on, and end its runs"),
        ("list", _list, "show the names of all keys"),
    ):
        parser = actions.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
        )
        parser.set_defaults(run=run)
        if name != "list":
            parser.add_argument("name", metavar="NAME", help="such as radiology-3 or jane.doe")
        _add_keys_file(parser.add_argument)
        add_output_options(parser.add_argument)


def _add(options: argparse.Namespace, console: Console) -> None:
    key = _key_file(options).add(options.name)
    console.done(
        {"name": options.name, "key": key, "file": str(_key_file(options).path)},
        f"The key of {options.name}, which is shown only now:",
        key,
    )


def _revoke(options: argparse.Namespace, console: Console) -> None:
    _key_file(options).revoke(options.name)
    console.done({"name": options.name}, f"The key of {options.name} is revoked.")


def _list(options: argparse.Namespace, console: Console) -> None:
    file = _key_file(options)
    owners = file.listed()
    console.done(
        {"file": str(file.path), "keys": [{"name": each.name, "created": each.created} for each in owners]},
        *(f"{each.name:<24} {each.created}" for each in owners),
        *([] if owners else [f"There are no keys in {file.path}: mednext serve keys add NAME."]),
    )


def _key_file(options: argparse.Namespace) -> KeyFile:
    from ..server.keys import KeyFile, default_key_file

    return KeyFile(options.keys or default_key_file())


def _serve(options: argparse.Namespace, console: Console) -> None:
    """Serve until Ctrl+C or SIGTERM."""
    from ..server.listening import Place
    from ..server.serving import serve_until_stopped

    place = Place(
        options.host, options.port, options.certificate, options.certificate_key, options.behind_proxy
    )
    limits, bundles = _limits(options), _bundles(options.model)
    keys = _key_file(options)
    if not keys.listed():
        raise OptionError(
            f"The server would have no user, since {keys.path} has no key: make one with "
            "'mednext serve keys add NAME'."
        )
    serve_until_stopped(place, keys, limits, bundles, _fleet(options, bundles), console.say)


def _limits(options: argparse.Namespace) -> Limits:
    from ..server.jobs import Limits

    for name in ("largest", "memory", "longest", "silence", "per_key", "kept"):
        given = getattr(options, name)
        if given is not None and not 0 < given < 1e6:
            raise OptionError(f"--{name.replace('_', '-')} must be more than 0, not {given:g}.")
    return Limits(
        largest_bytes=int(options.largest * _GIB),
        memory_bytes=_usable_memory() if options.memory is None else int(options.memory * _GIB),
        jobs_per_owner=options.per_key,
        longest_s=60 * options.longest,
        silence_s=60 * options.silence,
    )


def _usable_memory() -> int:
    """Half of the free memory; the engines need the rest."""
    from ..server.jobs import Limits
    from ..system.free_memory import free_memory

    free = free_memory()
    return Limits().memory_bytes if free is None else free // 2


def _bundles(named: list[str] | None) -> dict[str, Bundle]:
    """The models of the server: those that are named, or all that are installed."""
    from ..library.model_by_name import load_bundle
    from ..library.store import installed_names

    bundles = [load_bundle(name) for name in (named or installed_names())]
    if not bundles:
        raise OptionError("There is no model to serve: mednext models install NAME.")
    return {bundle.model.name: bundle for bundle in bundles}


def _fleet(options: argparse.Namespace, bundles: dict[str, Bundle]) -> Fleet:
    from ..server.ray_engines import Fleet
    from ..system.devices import check_threads

    check_threads(options.threads)
    if options.replicas is not None and options.replicas < 1:
        raise OptionError(f"--replicas must be at least 1, not {options.replicas}.")
    warm = tuple(str(bundle.path) for bundle in bundles.values()) if options.model else ()
    return Fleet(options.replicas, options.device, options.threads, warm, options.kept, options.ray)
