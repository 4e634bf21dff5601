"""Arguments that several commands have."""

from __future__ import annotations

import argparse

from ..datasets import Dataset, find_dataset
from ..workspace import Workspace


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """The option `--dataset`, for `chosen_dataset`."""
    parser.add_argument(
        "--dataset",
        help="number, name or folder of a data set in nnU-Net's raw layout (default: the only one there is)",
    )


def chosen_dataset(arguments: argparse.Namespace) -> tuple[Workspace, Dataset]:
    """The data set that a command works on, and the workspace with its raw data; see `find_dataset`."""
    return find_dataset(arguments.workspace, arguments.dataset)


def add_network(parser: argparse.ArgumentParser) -> None:
    """The options `--variant` and `--kernel`."""
    parser.add_argument("--variant", choices="SBML", default="S")
    parser.add_argument("--kernel", type=int, choices=(3, 5), default=3)


def count(text: str) -> int:
    """A number of at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
