"""Commands that train: `plan` and `train`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mednext.errors import OptionError
from mednext.network.patch_sides import check_patch
from mednext.system.memory_settings import restart_tuned

from ..conversion.checking import check_dataset
from ..dataset_use import in_use
from ..datasets import Dataset
from ..planning.plans import (
    PATCH,
    check_painting,
    checked_regions,
    plan_and_preprocess,
    read_plans,
    task_regions,
)
from ..planning.splits import split_of
from ..training.schedule import Schedule, recipe_schedule
from ..workspace import Workspace
from .arguments import add_dataset, add_network, chosen_dataset, count, fold, named_once, seconds, structure

_CHOICES = {"auto": None, "on": True, "off": False}


def add_commands(commands: Any) -> None:
    """Add this group's commands to the command line."""
    plan = commands.add_parser("plan", help="plan and preprocess at 1 mm")
    add_dataset(plan)
    plan.add_argument(
        "--patch", type=int, nargs=3, default=PATCH, metavar=("Z", "Y", "X"), help="default: 128 128 128"
    )
    plan.add_argument("--batch-size", type=count, default=2)
    plan.add_argument(
        "--spacing", type=float, nargs=3, default=(1.0, 1.0, 1.0), metavar=("Z", "Y", "X"), help="in mm"
    )
    plan.add_argument(
        "--batch-dice",
        choices=tuple(_CHOICES),
        default="auto",
        help="Dice over the batch (default: as the reference, for images of more than four patches of 128³)",
    )
    regions = plan.add_mutually_exclusive_group()
    regions.add_argument(
        "--regions", action="store_true", help="train the task's overlapping regions instead of its labels"
    )
    regions.add_argument(
        "--region",
        dest="own_regions",
        action="append",
        type=_region,
        metavar="NAME=VALUES",
        help='train regions of your own instead of labels, such as "whole tumor=1,2,3", the widest first',
    )
    plan.add_argument("--processes", type=count, default=2, help="that preprocess")
    plan.set_defaults(run=_plan)

    training = commands.add_parser("train", help="train one fold, or resume it")
    add_dataset(training)
    add_network(training)
    training.add_argument("--fold", type=fold, default=0, help="a number, or all: every case (default: 0)")
    training.add_argument("--epochs", type=count, help="default: 1000, or 300 with --start-from")
    training.add_argument("--iterations", type=count, default=250, help="steps in an epoch")
    training.add_argument("--validation-iterations", type=count, default=50)
    _add_learning(training)
    _add_execution(training)
    training.add_argument("--again", action="store_true", help="begin anew, also where a run is finished")
    training.add_argument(
        "--stop-after", type=seconds, metavar="SECONDS", help="stop at the epoch's end after"
    )
    training.set_defaults(run=_train)


def _add_learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="default: 1e-3, or 1e-4 for KiTS19 with kernel 5; a tenth of that with --start-from, but for v2",
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        metavar="EPOCHS",
        help="in which the rate rises (default: none, or a sixth of all with --start-from)",
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--upkern", action="store_true", help="begin with the finished training of kernel 3 on this fold"
    )
    begin.add_argument("--start-from", metavar="MODEL", help="fine-tune a model: its name, or its folder")
    parser.add_argument("--seed", type=_seed, default=12345, help="of the random weights")


def _region(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, values = text.partition("=")
    if not name.strip() or not all(value.strip().isdecimal() for value in values.split(",")):
        raise argparse.ArgumentTypeError("must be NAME=VALUES, such as 'whole tumor=1,2,3'")
    return structure(name), tuple(int(value) for value in values.split(","))


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 4294967295")
    return int(text)


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp16", "fp32"),
        default="auto",
        help="on CUDA (default: bf16 where the card has it, else fp16)",
    )
    parser.add_argument("--compile", action="store_true", help="run on torch.compile, on CUDA")
    parser.add_argument(
        "--checkpointing",
        choices=("none", "expansion", "blocks"),
        help="computed again by the backward pass (default: blocks for the larger networks, else none)",
    )
    parser.add_argument(
        "--checkpointing-stages",
        type=int,
        nargs="+",
        default=range(9),
        metavar="STAGE",
        help="of the nine, where it does so (default: all; 0 and 8 hold most of the memory)",
    )


def _plan(arguments: argparse.Namespace) -> None:
    check_patch(arguments.patch)
    workspace, dataset = chosen_dataset(arguments)
    regions = task_regions(dataset) if arguments.regions else None
    if arguments.own_regions:
        regions = checked_regions(dataset, named_once(arguments.own_regions, "--region"))
    check_painting(regions or dataset.regions, () if regions else dataset.regions_class_order)
    with in_use(workspace, dataset, "plan"):
        report = check_dataset(workspace, dataset)
        plan_and_preprocess(
            workspace,
            dataset,
            arguments.patch,
            arguments.batch_size,
            arguments.spacing,
            arguments.processes,
            batch_dice=_CHOICES[arguments.batch_dice],
            regions=regions,
            same_patient=report.same_patient,
            facts=report.facts,
        )


def _train(arguments: argparse.Namespace) -> None:
    workspace, dataset = chosen_dataset(arguments)
    read_plans(workspace, dataset)
    split_of(workspace, dataset, arguments.fold)  # raises before the program restarts
    restart_tuned("mednext_training.cli", sys.argv[1:])
    workspace.activate()
    from ..training.training_run import Execution, train_run

    outcome = train_run(
        _run(arguments, workspace, dataset),
        Execution(
            arguments.precision,
            arguments.compile,
            arguments.checkpointing,
            tuple(arguments.checkpointing_stages),
        ),
        arguments.again,
        arguments.stop_after,
    )
    sys.stdout.write(_TOLD[outcome])


_TOLD = {
    "finished": "The training is finished: export it, with 'mednext-train export'.\n",
    "stopped": "Stopped at the end of an epoch: the same command goes on from there.\n",
    "was finished": "This training is finished already. Nothing was done; --again begins anew.\n",
}


def _run(arguments: argparse.Namespace, workspace: Workspace, dataset: Dataset) -> Any:
    from ..network.start_weights import weights_of_model, weights_of_small_kernel
    from ..training.trainer import mednext_trainer
    from ..training.training_run import Run

    if arguments.upkern and arguments.kernel == 3:
        raise OptionError("UpKern makes large kernels of small ones: give --kernel 5 or 7.")
    name = arguments.name or ("upkern" if arguments.upkern else "")
    trainer = mednext_trainer(arguments.variant, arguments.kernel, suffix=name)
    start = None
    if arguments.upkern:
        small = Run(workspace, dataset, mednext_trainer(arguments.variant), arguments.fold, Schedule())
        command = f"mednext-train train --variant {arguments.variant} --fold {arguments.fold}"
        start = weights_of_small_kernel(small.folder, command)
    elif arguments.start_from:
        split = split_of(workspace, dataset, arguments.fold)
        start = weights_of_model(arguments.start_from, arguments.fold, split)
    schedule = recipe_schedule(
        dataset.task,
        arguments.kernel,
        arguments.variant,
        fine_tuning=bool(arguments.start_from),
        epochs=arguments.epochs,
        iterations=arguments.iterations,
        validation_iterations=arguments.validation_iterations,
        learning_rate=arguments.learning_rate,
        warm_up_epochs=arguments.warm_up,
    )
    return Run(workspace, dataset, trainer, arguments.fold, schedule, start, arguments.seed)
