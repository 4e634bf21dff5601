"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from typing import TypeVar

from mednext.errors import OptionError
from mednext.library.web_address import check_address

from ..datasets import Dataset, find_dataset
from ..network.network_names import NETWORK_NAMES
from ..workspace import Workspace

T = TypeVar("T")
U = TypeVar("U")


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
    """The options `--variant`, `--kernel` and `--name`."""
    parser.add_argument("--variant", choices=NETWORK_NAMES, default="S")
    parser.add_argument("--kernel", type=int, choices=(3, 5, 7), default=3)
    parser.add_argument(
        "--name",
        type=_word,
        help="keeps trainings of one network apart, such as finetuned (default: upkern with --upkern)",
    )


def fold(text: str) -> int | str:
    """A fold's number, or "all"."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number, counted from 0, or 'all'") from None


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{1,32}", text):
        raise argparse.ArgumentTypeError("must be letters and digits")
    return text


def structure(text: str) -> str:
    """The name of a label or region."""
    name = text.strip()
    if not name or name.casefold() in ("background", "ignore"):  # which nnU-Net takes for something else
        raise argparse.ArgumentTypeError(f"{name!r} is no name of a structure")
    return name


def named_once(pairs: Sequence[tuple[T, U]], option: str) -> dict[T, U]:
    """The values of an option for each name. Raises `OptionError` for a name that is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = ", ".join(str(name) for name, _ in pairs)
        raise OptionError(f"{option} names one of these twice: {names}. Give each once.")
    return found


def count(text: str) -> int:
    """A number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def address(text: str) -> str:
    """An address in the web."""
    try:
        check_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: {error}") from None
    return text


def seconds(text: str) -> float:
    """A duration in s."""
    try:
        duration = float(text)
    except ValueError:
        duration = math.nan
    if not duration >= 0:
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return duration
