"""Commands that train: `plan` and `train`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mednext.system.memory_settings import restart_tuned

from ..conversion.checking import check_dataset
from ..planning import CONFIGURATION, check_fold, check_patch, plan_and_preprocess, read_plans
from .arguments import add_dataset, add_network, chosen_dataset, count


def add_commands(commands: Any) -> None:
    """Add this group's commands to the command line."""
    plan = commands.add_parser("plan", help="plan and preprocess at 1 mm")
    add_dataset(plan)
    plan.add_argument("--patch", type=int, nargs=3, default=(48, 64, 48), metavar=("Z", "Y", "X"))
    plan.add_argument("--batch-size", type=count, default=2)
    plan.set_defaults(run=_plan)

    training = commands.add_parser("train", help="train one fold, or resume it")
    add_dataset(training)
    add_network(training)
    training.add_argument("--fold", type=int, default=0)
    training.add_argument("--epochs", type=count, default=1000)
    training.add_argument("--iterations", type=count, default=250, help="steps in an epoch")
    training.add_argument("--validation-iterations", type=count, default=50)
    training.add_argument(
        "--checkpointing",
        choices=("none", "expansion", "blocks"),
        help="what the backward pass computes again to save memory (default: blocks for M and L, else none)",
    )
    training.add_argument("--stop-after", type=float, metavar="SECONDS", help="stop at the epoch's end after")
    training.set_defaults(run=_train)


def _plan(arguments: argparse.Namespace) -> None:
    check_patch(arguments.patch)
    workspace, dataset = chosen_dataset(arguments)
    check_dataset(workspace, dataset)
    plan_and_preprocess(workspace, dataset, arguments.patch, arguments.batch_size)


def _train(arguments: argparse.Namespace) -> None:
    workspace, dataset = chosen_dataset(arguments)
    plans, description = read_plans(workspace, dataset)
    check_fold(workspace, dataset, arguments.fold)
    restart_tuned("mednext_training.cli", sys.argv[1:])
    workspace.activate()
    import torch

    from ..trainer import TRAINERS, train

    plans["continue_training"] = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = TRAINERS[arguments.variant, arguments.kernel](
        plans, CONFIGURATION, arguments.fold, description, torch.device(device)
    )
    trainer.checkpointing = arguments.checkpointing or trainer.checkpointing
    trainer.num_epochs = arguments.epochs
    trainer.num_iterations_per_epoch = arguments.iterations
    trainer.num_val_iterations_per_epoch = arguments.validation_iterations
    train(trainer, arguments.stop_after)
