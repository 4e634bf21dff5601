"""The arguments that the commands `segment` and `segment-folder` share: the options of a run, and more."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import OptionError
from ..system.devices import DEVICES, PRECISIONS

if TYPE_CHECKING:
    from ..images.geometry import Roi
    from ..inference.options import Options

DEFAULT_MODEL = "hippocampus"


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that both commands have; `options_of` makes options of them."""
    parser.set_defaults(runs_networks=True)
    add = parser.add_argument
    add("--model", metavar="NAME|PATH", default=DEFAULT_MODEL, help="installed model or folder (%(default)s)")
    add("--device", help=f"{', '.join(DEVICES)}, or cuda:1 and so on (default: the fastest)")
    add("--folds", type=_folds, help="networks to average: 0,1 or all (default: all)")
    add(
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
        "--step",
        metavar="FRACTION",
        type=float,
        help="distance of tiles, 0.1 to 1 patch (default: the model's)",
    )
    add("--precision", choices=PRECISIONS, help="bfloat16: faster, a little less exact (default: float32)")
    add("--threads", metavar="N", type=int, help="threads on the CPU, at most its cores (default: what fits)")
    add("--insist", action="store_true", help="segment also what looks certainly wrong; the result says so")
    add("--json", action="store_true", help="print one JSON document instead of text")
    add("--quiet", action="store_true", help="print nothing but errors")


def options_of(arguments: argparse.Namespace) -> Options:
    """The options that were given. Raises `OptionError` for a value out of its range."""
    from dataclasses import fields

    from ..inference.options import Options

    given = {each.name: getattr(arguments, each.name) for each in fields(Options)}
    chosen = {name: value for name, value in given.items() if value is not None}
    return Options(**{**chosen, "uncertainty": bool(arguments.uncertainty)})


def _folds(text: str) -> tuple[int, ...] | None:
    """The folds that an option names; None for all."""
    if text == "all":
        return None
    try:
        return tuple(int(fold) for fold in text.split(","))
    except ValueError:
        raise OptionError(f"--folds must be 'all' or numbers like 0,1, not {text!r}.") from None


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
