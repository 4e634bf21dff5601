"""Commands on trained models: `export` and `evaluate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mednext.system.memory_settings import restart_tuned

from .arguments import add_dataset, add_network, chosen_dataset


def add_commands(commands: Any) -> None:
    """Add this group's commands to the command line."""
    export = commands.add_parser("export", help="make a bundle of trained folds")
    add_dataset(export)
    add_network(export)
    export.add_argument("target", type=Path, help="folder of the bundle; its name is the model's name")
    export.add_argument("--folds", type=int, nargs="+", default=[0])
    export.add_argument("--checkpoint", choices=("final", "best"), default="final")
    export.add_argument("--orientation", help="of the training images, such as RAS (default: read from them)")
    export.add_argument("--version", default="1.0.0", help="of the weights")
    export.set_defaults(run=_export)

    evaluation = commands.add_parser("evaluate", help="Dice of a bundle on a fold's validation cases")
    add_dataset(evaluation)
    evaluation.add_argument("model", help="name or folder of the bundle")
    evaluation.add_argument("--fold", type=int, default=0)
    evaluation.add_argument("--no-mirror", action="store_true", help="eight times faster, a little worse")
    evaluation.add_argument("--table", type=Path, help="Markdown file for the table")
    evaluation.add_argument("--record", metavar="SOURCE", help="write the means into model.json, and how")
    evaluation.set_defaults(run=_evaluate)


def _export(arguments: argparse.Namespace) -> None:
    from ..publishing import export_bundle, export_options, results_folder

    workspace, dataset = chosen_dataset(arguments)
    options, description = export_options(
        workspace,
        dataset,
        f"MedNeXt-{arguments.variant}, kernel {arguments.kernel}",
        folds=tuple(arguments.folds),
        checkpoint=arguments.checkpoint,
        version=arguments.version,
        orientation=arguments.orientation,
    )
    source = results_folder(workspace, dataset, arguments.variant, arguments.kernel)
    export_bundle(source, arguments.target, options, description)


def _evaluate(arguments: argparse.Namespace) -> None:
    from mednext import load_bundle

    from ..evaluation import evaluate, markdown_table
    from ..publishing import record_accuracy
    from ..splits import validation_cases

    workspace, dataset = chosen_dataset(arguments)
    bundle = load_bundle(arguments.model)
    cases = validation_cases(workspace, dataset, arguments.fold)
    restart_tuned("mednext_training.cli", sys.argv[1:])
    raw = workspace.raw / dataset.folder_name
    results = evaluate(bundle, raw, cases, [arguments.fold], mirroring=not arguments.no_mirror)
    table = markdown_table(results)
    if arguments.table:
        arguments.table.write_text(table, encoding="utf-8")
    if arguments.record:
        record_accuracy(bundle, results, arguments.record)
    sys.stdout.write(table)
