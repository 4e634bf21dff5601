"""`make bench`: measure, and print tables in Markdown.

python -m benchmarks                                  # everything, about twenty minutes on two cores
python -m benchmarks --parts forward --sizes S3 L5 --sides 64 96
python -m benchmarks --long --output tables.md        # larger patches and scans: about an hour
python -m benchmarks --smoke                          # all parts on something tiny: they run, and no more
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from . import Settings, restart
from .report import machine

PARTS = ("forward", "end_to_end", "start_up", "growth", "training_step")
NETWORKS: dict[str, tuple[tuple[str, int], ...]] = {
    "smoke": (("S3", 32),),
    "usual": (("S3", 128), ("B3", 96), ("L3", 96), ("L5", 64)),
    "long": (("S3", 64), ("S3", 128), ("B3", 128), ("L3", 128), ("L5", 128)),
}


def main(arguments: list[str]) -> None:
    """Measure each part and print its tables at once."""
    options = _options(arguments)
    networks = NETWORKS[options.scale]
    if options.sizes:
        networks = tuple((size, side) for size in options.sizes for side in options.sides)
    compiled = not options.no_compile and options.scale != "smoke"
    settings = Settings(options.rounds, networks, options.scale, compiled)
    for name in options.parts:
        # The import of a part may take seconds: only those that are measured.
        tables = importlib.import_module(f"{__package__}.{name}").measure(settings)
        text = f"{tables}\n{machine()}; allocator tuned.\n\n"
        sys.stdout.write(text)
        sys.stdout.flush()
        if options.output:
            with options.output.open("a", encoding="utf-8") as file:
                file.write(text)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", help="networks such as S3 for S with kernel 3")
    parser.add_argument("--sides", nargs="+", type=int, default=[64], help="of the patch, with --sizes")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile, which takes minutes")
    scales = parser.add_mutually_exclusive_group()
    for scale, help in (("long", "all at 128³, larger scans"), ("smoke", "only see that all parts run")):
        scales.add_argument(f"--{scale}", dest="scale", action="store_const", const=scale, help=help)
    parser.set_defaults(scale="usual")
    parser.add_argument("--output", type=Path, help="file to which the tables are appended")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    restart("benchmarks", sys.argv[1:])
    main(sys.argv[1:])
