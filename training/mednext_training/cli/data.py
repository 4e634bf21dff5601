"""Commands on data: `convert` and `check`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..conversion.challenges import LAYOUTS, challenge
from ..conversion.checking import check_dataset
from ..conversion.converting import Choices, convert
from ..conversion.own import OwnData, own_form
from .arguments import add_dataset, chosen_dataset, named_once, structure


def add_commands(commands: Any) -> None:
    """Add this group's commands to the command line."""
    converting = commands.add_parser("convert", help="check data, and bring it into nnU-Net's raw layout")
    kinds = converting.add_subparsers(required=True, metavar="DATA")
    for name in LAYOUTS:
        parser = kinds.add_parser(name, help=f"the challenge's own files: {LAYOUTS[name].hint}")
        _add_source(parser)
        if name == "amos22":
            parser.add_argument("--with-mr", action="store_true", help="take the MR images, too")
        parser.set_defaults(run=_convert, challenge=name, with_mr=False)
    own = kinds.add_parser("own", help="pairs of images and labels of your own, or data sets to be joined")
    _add_source(own)
    _add_own(own)
    own.set_defaults(run=_convert_own)

    checking = commands.add_parser("check", help="read a data set in nnU-Net's layout whole, and report")
    add_dataset(checking)
    checking.set_defaults(run=_check)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, nargs="+", help="folders, or zip or tar files as downloaded")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="CASE", help="cases to leave out")
    parser.add_argument("--skip-faulty", action="store_true", help="leave out all cases that have problems")
    parser.add_argument("--allow-empty", action="store_true", help="take cases in which nothing is labelled")


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="of the data set (default: that of the source)")
    parser.add_argument("--number", type=int, help="of the data set (default: the next free one from 501)")
    parser.add_argument(
        "--channel",
        dest="channels",
        action="append",
        default=[],
        type=_named_pattern,
        metavar="NAME[=PATTERN]",
        help="an image of each case, CT for Hounsfield units, and where it lies, such as "
        "FLAIR={case}/flair.nii.gz (default: images/{case}.nii.gz)",
    )
    parser.add_argument("--labels", default="", metavar="PATTERN", help="such as {case}/tumor.nii.gz")
    parser.add_argument(
        "--label",
        dest="values",
        action="append",
        default=[],
        type=_named_value,
        metavar="VALUE=NAME",
        help="the name of a label value, such as 1=liver",
    )
    parser.add_argument("--task", default="", help="task of the catalog that gives channels and labels")


def _convert(arguments: argparse.Namespace) -> None:
    form = challenge(arguments.challenge, arguments.with_mr)
    convert(form, arguments.source, arguments.workspace, _choices(arguments))


def _convert_own(arguments: argparse.Namespace) -> None:
    said = OwnData(
        arguments.name,
        arguments.number,
        named_once(arguments.channels, "--channel"),
        arguments.labels,
        named_once(arguments.values, "--label"),
        arguments.task,
    )
    form = own_form(arguments.source, said, arguments.workspace)
    convert(form, arguments.source, arguments.workspace, _choices(arguments))


def _choices(arguments: argparse.Namespace) -> Choices:
    return Choices(tuple(arguments.leave_out), arguments.skip_faulty, arguments.allow_empty)


def _check(arguments: argparse.Namespace) -> None:
    check_dataset(*chosen_dataset(arguments))


def _named_pattern(text: str) -> tuple[str, str]:
    name, _, pattern = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError("must be NAME or NAME=PATTERN")
    return name, pattern


def _named_value(text: str) -> tuple[int, str]:
    value, _, name = text.partition("=")
    if not value.isdecimal() or not name:
        raise argparse.ArgumentTypeError("must be VALUE=NAME, such as 1=liver")
    return int(value), structure(name)
