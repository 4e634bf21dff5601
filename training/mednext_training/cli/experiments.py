"""Commands that compare: `experiment` and `baseline`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from mednext.system.memory_settings import restart_tuned
from mednext.system.shown_text import shown_lines

from ..experiments.nnunet_baseline import CONFIGURATIONS, run_baseline
from ..planning.plans import read_plans
from ..planning.splits import split_of
from ..training.schedule import Schedule
from .arguments import add_dataset, chosen_dataset, count


def add_commands(commands: Any) -> None:
    """Add this group's commands to the command line."""
    experiment = commands.add_parser("experiment", help="train several networks in one frame, and compare")
    add_dataset(experiment)
    experiment.add_argument("name", type=_name, help="of the report")
    experiment.add_argument(
        "--networks",
        nargs="+",
        default=[],
        metavar="NETWORK",
        help="S_k3, S_k5_upkern, S_k3_standard, S_k3_twice, v2-B_k3 ..., nnunet, unetr, swinunetr; the "
        "others are compared with the first",
    )
    experiment.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    experiment.add_argument("--epochs", type=count, default=1000)
    experiment.add_argument("--iterations", type=count, default=250, help="steps in an epoch")
    experiment.add_argument("--validation-iterations", type=count, default=50)
    experiment.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="of nnU-Net's trainings on the same split, such as those of 'baseline'",
    )
    experiment.set_defaults(run=_experiment)

    baseline = commands.add_parser("baseline", help="train one of nnU-Net's own configurations by nnU-Net")
    add_dataset(baseline)
    baseline.add_argument("configuration", choices=tuple(CONFIGURATIONS))
    baseline.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    baseline.add_argument("--trainer", default="nnUNetTrainer", help="such as nnUNetTrainer_250epochs")
    baseline.set_defaults(run=_baseline)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", text):
        raise argparse.ArgumentTypeError('must be letters, digits, "-" and "_"')
    return text


def _experiment(arguments: argparse.Namespace) -> None:
    workspace, dataset = chosen_dataset(arguments)
    folds = list(dict.fromkeys(arguments.folds))
    read_plans(workspace, dataset)
    for fold in folds:
        split_of(workspace, dataset, fold)
    restart_tuned("mednext_training.cli", sys.argv[1:])
    _few_processes()
    workspace.activate()
    from ..experiments.comparison import write_report
    from ..experiments.experiment import contestant, imported_entry, run_experiment

    contestants = [contestant(name) for name in dict.fromkeys(arguments.networks)]
    schedule = Schedule(arguments.epochs, arguments.iterations, arguments.validation_iterations)
    imported = [imported_entry(workspace, dataset, each, folds) for each in arguments.results]
    entries = run_experiment(workspace, dataset, contestants, folds, schedule) + imported
    folder = workspace.root / "experiments" / arguments.name
    report = write_report(folder, f"{arguments.name}: {dataset.folder_name}", entries)
    sys.stdout.write(shown_lines(report.read_text(encoding="utf-8")))


def _baseline(arguments: argparse.Namespace) -> None:
    workspace, dataset = chosen_dataset(arguments)
    for fold in arguments.folds:
        split_of(workspace, dataset, fold)
    _few_processes()
    folder = run_baseline(workspace, dataset, arguments.configuration, arguments.folds, arguments.trainer)
    sys.stdout.write(f"Compare it: mednext-train experiment NAME --results {folder}\n")


def _few_processes() -> None:
    """Let nnU-Net write segmentations in as many processes as there are processors, not in eight."""
    os.environ.setdefault("nnUNet_def_n_proc", str(min(8, os.cpu_count() or 1)))
