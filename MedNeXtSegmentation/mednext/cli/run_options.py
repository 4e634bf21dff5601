"""The arguments that the commands `segment` and `segment-folder` share: the options of a run, and more."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import OptionError
from ..system.devices import DEVICES, PRECISIONS

if TYPE_CHECKING:
    from ..images.geometry import Roi
    from ..inference.options import Options
    from ..model.description import Model
    from ..remote.address import Server

DEFAULT_MODEL = "hippocampus"

_ALL: tuple[int, ...] = ()  # folds


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that both commands have; `options_of` makes options of them."""
    parser.set_defaults(runs_networks=True)
    add = parser.add_argument
    add("--model", metavar="NAME|PATH", default=DEFAULT_MODEL, help="installed model or folder (%(default)s)")
    add("--device", help=f"{', '.join(DEVICES)}, or cuda:1 and so on (default: the fastest)")
    add(
        "--quality",
        metavar="QUALITY",
        help="fast, standard or best: sets --folds, mirrored copies, --step and --precision where they are "
        "not given (default: standard)",
    )
    add("--folds", type=_folds, help="networks to average: 0,1 or all (default: all; with fast the first)")
    mirroring = parser.add_mutually_exclusive_group()
    mirroring.add_argument(
        "--mirror",
        dest="mirroring",
        action="store_const",
        const=True,
        help="average over mirrored copies also with --quality fast",
    )
    mirroring.add_argument(
        "--no-mirror",
        dest="mirroring",
        action="store_const",
        const=False,
        help="leave out mirrored copies: faster, a little less accurate",
    )
    add(
        "--roi",
        metavar="R,A,S,R,A,S",
        type=_roi,
        help="limit the work to a box: two opposite corners, mm RAS",
    )
    add(
        "--locate",
        choices=("auto", "none"),
        help="find the structure of a model of crops in a whole image, or take the image as it is (default: "
        "auto)",
    )
    add(
        "--box",
        dest="boxes",
        metavar="SIDE=R,A,S,R,A,S",
        action="append",
        type=_box,
        help="left=... and right=...: boxes of both sides instead of finding them, as --roi",
    )
    add(
        "--step",
        metavar="FRACTION",
        type=float,
        help="distance of tiles, 0.1 to 1 patch (default: the quality's, or the model's)",
    )
    add("--precision", choices=PRECISIONS, help="bfloat16: faster, a little less exact (default: float32)")
    add("--threads", metavar="N", type=int, help="threads on the CPU, at most its cores (default: what fits)")
    add(
        "--intensities",
        action="store_true",
        help="also give mean and standard deviation of the images within each structure, in HU for CT",
    )
    add_server_options(add, "let a server of 'mednext serve' compute; the images go there")
    add(
        "--insist",
        action="store_true",
        help="also segment images that look certainly wrong, with a warning",
    )
    add_output_options(add)


def add_output_options(add: Callable[..., object]) -> None:
    """Add the arguments that the `Console` follows."""
    add("--json", action="store_true", help="print one JSON document instead of text")
    add("--quiet", action="store_true", help="print nothing but errors")


def add_server_options(add: Callable[..., object], purpose: str) -> None:
    """Add the arguments that name a server; `server_of_run` makes a server of them."""
    add("--server", metavar="ADDRESS", help=purpose)
    add("--server-key", metavar="FILE", help="file with the key for it (default: $MEDNEXT_SERVER_KEY)")
    add("--server-certificate", metavar="FILE", help="PEM file to trust, for a server with its own authority")


def options_of(arguments: argparse.Namespace, model: Model) -> Options:
    """The options that were given. Raises `OptionError` for a value out of its range."""
    from dataclasses import fields

    from ..inference.options import Options

    given = {each.name: getattr(arguments, each.name) for each in fields(Options)}
    chosen = {name: value for name, value in given.items() if value is not None}
    if arguments.folds == _ALL:
        chosen["folds"] = tuple(fold.index for fold in model.folds)
    if arguments.boxes:
        chosen["boxes"] = dict(arguments.boxes)
    return Options(**{**chosen, "uncertainty": bool(arguments.uncertainty)})


def server_of_run(arguments: argparse.Namespace) -> Server | None:
    """The server that was given. Raises `OptionError` when it cannot be used, or for options it decides."""
    if arguments.server is None:
        if arguments.server_key or arguments.server_certificate:
            raise OptionError("A key or a certificate needs a server: add --server ADDRESS.")
        return None
    for name in ("device", "threads", "workers", "ray"):
        if getattr(arguments, name, None) is not None:
            raise OptionError(f"--{name} is for runs without --server: leave one of them out.")
    from ..remote.address import server_of

    return server_of(arguments.server, arguments.server_key, arguments.server_certificate)


def _folds(text: str) -> tuple[int, ...]:
    """The folds that an option names."""
    if text == "all":
        return _ALL
    try:
        return tuple(int(fold) for fold in text.split(","))
    except ValueError:
        raise OptionError(f"--folds must be 'all' or numbers like 0,1, not {text!r}.") from None


def _box(text: str) -> tuple[str, Roi]:
    side, equals, corners = text.partition("=")
    if not equals:
        raise OptionError(f"--box must be like left=-44,-47,-30,-8,5,11 (a side, two corners), not {text!r}.")
    return side, _roi(corners)


def _roi(text: str) -> Roi:
    from ..images.geometry import Roi

    try:
        right, anterior, superior, *opposite = (float(number) for number in text.split(","))
        pairs = zip((right, anterior, superior), opposite, strict=True)
        lower, upper = zip(*(sorted(pair) for pair in pairs), strict=True)
    except ValueError:
        raise OptionError(
            f"--roi must be six numbers like -40,-30,-35,40,10,15 (two corners in mm RAS), not {text!r}."
        ) from None
    return Roi(lower, upper)
