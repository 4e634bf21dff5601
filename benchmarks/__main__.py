"""`make bench`: measure, and write what was seen into docs/performance.md with its plot.

    python -m benchmarks                                  # everything, about twenty minutes on two cores
    python -m benchmarks --parts forward --sizes S3 L5 --sides 64 96
    python -m benchmarks --long                           # larger patches and scans: about an hour

Each part replaces its own block of the page; the others stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mednext.system.memory_settings import restart_tuned

DEFAULT_FORWARD = (("S3", 128), ("B3", 96), ("L3", 96), ("L5", 64))
LONG_FORWARD = (("S3", 64), ("S3", 128), ("B3", 128), ("L3", 128), ("L5", 128))


def main() -> None:
    """Measure and write."""
    restart_tuned("benchmarks", sys.argv[1:])  # stock eager on Linux is mostly page faults
    arguments = _arguments()
    from .machine import conditions, machine
    from .page import PAGE, write_block

    sys.stdout.write(f"{machine()}\n\n")
    for name in arguments.parts:
        text = f"{_parts(arguments)[name]()}\n\n{conditions()}; allocator tuned."
        sys.stdout.write(f"{text}\n\n")
        sys.stdout.flush()
        if not arguments.print_only:
            write_block("machine", f"Measured on {machine()}.")
            write_block(name, text)
    if "forward" in arguments.parts and not arguments.print_only:
        from .pictures import draw

        draw()
    sys.stdout.write("Nothing was written.\n" if arguments.print_only else f"Written to {PAGE}.\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(_parts(argparse.Namespace()))
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", help="networks such as S3 for S with kernel 3")
    parser.add_argument("--sides", nargs="+", type=int, default=[64], help="of the patch, with --sizes")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out torch.compile, which takes minutes"
    )
    parser.add_argument("--long", action="store_true", help="all at 128³, larger scans")
    parser.add_argument("--print-only", action="store_true", help="leave docs/performance.md as it is")
    return parser.parse_args()


def _parts(arguments: argparse.Namespace) -> dict[str, Callable[[], str]]:
    """What can be measured; nothing is imported before it is its turn."""
    return {
        "forward": lambda: _forward(arguments),
        "end to end": lambda: _end_to_end(arguments),
        "start": lambda: _start(arguments),
        "growth": lambda: _growth(arguments),
        "resampling": lambda: _resampling(arguments),
        "precision": _precision,
        "training": lambda: _training(arguments),
    }


def _forward(arguments: argparse.Namespace) -> str:
    from .candidates import Size
    from .forward import measure

    pairs = LONG_FORWARD if arguments.long else DEFAULT_FORWARD
    if arguments.sizes:
        pairs = tuple((size, side) for size in arguments.sizes for side in arguments.sides)
    compiled = not arguments.no_compile
    tables = [measure(Size.parse(size), side, arguments.rounds, compiled) for size, side in pairs]
    return "\n\n".join(tables)


def _end_to_end(arguments: argparse.Namespace) -> str:
    from .candidates import Size
    from .end_to_end import measure

    voxels, side = ((320, 320, 160), 128) if arguments.long else ((160, 160, 120), 96)
    return measure(Size.parse((arguments.sizes or ["S3"])[0]), voxels, side, arguments.rounds)


def _start(arguments: argparse.Namespace) -> str:
    from .start_up import measure

    return measure(arguments.rounds)


def _growth(arguments: argparse.Namespace) -> str:
    from .growth import measure

    return measure(arguments.long)


def _resampling(arguments: argparse.Namespace) -> str:
    from .resampling import measure

    return measure((300, 512, 512) if arguments.long else (100, 192, 192), arguments.rounds)


def _precision() -> str:
    from .half_precision import measure

    return measure()


def _training(arguments: argparse.Namespace) -> str:
    from .training_step import measure

    return measure(arguments.rounds)


if __name__ == "__main__":
    main()
