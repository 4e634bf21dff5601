"""The command `reproduce`: from a challenge's files to a finished model, by all other commands."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mednext.errors import OptionError
from mednext.system.memory_settings import restart_tuned

from ..conversion.challenges import LAYOUTS, challenge
from ..network.network_names import NETWORK_NAMES
from ..planning.plans import task_regions
from ..reproducing import BUDGETS, Budget, Command, Recipe, commands_of, reproduce
from .arguments import address

Parse = Callable[[Sequence[str]], argparse.Namespace]


def add_commands(commands: Any, parse: Parse) -> None:
    """Add the command; `parse` reads the words of the others."""
    parser = commands.add_parser("reproduce", help="all of it: from a challenge's files to a finished model")
    parser.add_argument("challenge", choices=tuple(LAYOUTS))
    parser.add_argument("source", type=Path, nargs="+", help="its files, as for convert")
    parser.add_argument("--with-mr", action="store_true", help="of AMOS22")
    parser.add_argument(
        "--budget",
        choices=tuple(BUDGETS),
        required=True,
        help="tiny: a network that shows in minutes that all works; paper: the paper's five folds",
    )
    parser.add_argument("--variant", choices=NETWORK_NAMES, help="of the network, in place of the budget's")
    parser.add_argument("--kernel", type=int, choices=(3, 5, 7), help="in place of the budget's")
    parser.add_argument("--folds", type=int, nargs="+", help="in place of the budget's")
    parser.add_argument(
        "--regions", action="store_true", help="train the task's overlapping regions instead of its labels"
    )
    parser.add_argument("--target", type=Path, help="folder of the model (default: in the workspace)")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="for the zip and the catalog's entry")
    parser.add_argument(
        "--url", type=address, help="where the zip of --publish will be, such as a release's assets"
    )
    parser.add_argument("--show", action="store_true", help="show the commands, and run none")
    parser.set_defaults(run=partial(_reproduce, parse))


def _reproduce(parse: Parse, arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    shared = ("--workspace", str(arguments.workspace.root))
    if arguments.show:
        commands = [("mednext-train", *shared, *each) for each in commands_of(recipe)]
        sys.stdout.writelines(f"{shlex.join(each)}\n" for each in commands)
        return
    restart_tuned("mednext_training.cli", sys.argv[1:])
    for folder in filter(None, (recipe.target.parent, arguments.publish)):
        folder.mkdir(parents=True, exist_ok=True)

    def run(command: Command) -> None:
        chosen = parse([*shared, *command])
        chosen.run(chosen)

    if arguments.budget == "tiny":  # processes that make batches would take longer to start than to learn
        os.environ.setdefault("nnUNet_n_proc_DA", "0")
    reproduce(recipe, arguments.source, arguments.workspace, run)
    sys.stdout.write(f"The model: {recipe.target}\n")


def _recipe(arguments: argparse.Namespace) -> Recipe:
    with_mr = arguments.with_mr
    if with_mr and arguments.challenge != "amos22":
        raise OptionError("Only AMOS22 has MR images: leave out --with-mr.")
    dataset = challenge(arguments.challenge, with_mr).dataset
    if arguments.regions:
        task_regions(dataset)  # raises where the task has none, before days of work
    budget = _budget(arguments)
    name = f"{dataset.name}-{budget.variant}-k{budget.kernel}{'-regions' if arguments.regions else ''}"
    return Recipe(
        (arguments.challenge, *map(str, arguments.source), *(("--with-mr",) if with_mr else ())),
        dataset.folder_name,
        budget,
        arguments.target or arguments.workspace.root / "models" / name,
        _publication(arguments),
    )


def _publication(arguments: argparse.Namespace) -> Command | None:
    if (arguments.publish is None) != (arguments.url is None):
        raise OptionError("--publish needs --url, where the zip will be, and --url needs --publish.")
    if arguments.publish is None:
        return None
    return ("--to", str(arguments.publish), "--url", arguments.url)


def _budget(arguments: argparse.Namespace) -> Budget:
    budget = BUDGETS[arguments.budget]
    return replace(
        budget,
        variant=arguments.variant or budget.variant,
        kernel=arguments.kernel or budget.kernel,
        folds=tuple(dict.fromkeys(arguments.folds or budget.folds)),
        plan=(*budget.plan, *(("--regions",) if arguments.regions else ())),
    )
