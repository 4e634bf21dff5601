"""`mednext-train`: convert, plan, train, export, evaluate."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from mednext.errors import MedNeXtError
from mednext.system.memory_settings import restart_tuned

from .datasets import HIPPOCAMPUS, convert_hippocampus
from .planning import CONFIGURATION, check_fold, plan_and_preprocess, read_plans
from .workspace import Workspace

logger = logging.getLogger(__name__)


def _convert(arguments: argparse.Namespace) -> None:
    convert_hippocampus(arguments.source, arguments.workspace.raw)


def _plan(arguments: argparse.Namespace) -> None:
    plan_and_preprocess(arguments.workspace, HIPPOCAMPUS, arguments.patch, arguments.batch_size)


def _train(arguments: argparse.Namespace) -> None:
    plans, dataset = read_plans(arguments.workspace, HIPPOCAMPUS)
    check_fold(arguments.workspace, HIPPOCAMPUS, arguments.fold)
    restart_tuned("mednext_training.cli", sys.argv[1:])
    arguments.workspace.activate()
    import torch

    from .trainer import TRAINERS, train

    plans["continue_training"] = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = TRAINERS[arguments.variant, arguments.kernel](
        plans, CONFIGURATION, arguments.fold, dataset, torch.device(device)
    )
    trainer.checkpointing = arguments.checkpointing or trainer.checkpointing
    trainer.num_epochs = arguments.epochs
    trainer.num_iterations_per_epoch = arguments.iterations
    trainer.num_val_iterations_per_epoch = arguments.validation_iterations
    train(trainer, arguments.stop_after)


def _export(arguments: argparse.Namespace) -> None:
    from mednext.checkpoints import ImportOptions
    from mednext.checkpoints.label_naming import find_task

    from .publishing import export_bundle, results_folder

    task = find_task(arguments.task)
    images = arguments.workspace.raw / HIPPOCAMPUS.folder_name / "imagesTr"
    network = f"MedNeXt-{arguments.variant}, kernel {arguments.kernel}"
    options = ImportOptions(
        task=task.name,
        orientation=arguments.orientation,
        images=images,
        folds=tuple(arguments.folds),
        checkpoint=arguments.checkpoint,
        version=arguments.version,
        title=f"{task.title}, {network}",
        licence=task.dataset.licence,
        citation=" ".join(task.citations),
        training_data=f"{task.dataset.name}, {task.dataset.url}",
    )
    source = results_folder(arguments.workspace, HIPPOCAMPUS, arguments.variant, arguments.kernel)
    export_bundle(source, arguments.target, options, task.description)


def _evaluate(arguments: argparse.Namespace) -> None:
    from mednext import load_bundle

    from .evaluation import evaluate, markdown_table, validation_cases
    from .publishing import record_accuracy

    bundle = load_bundle(arguments.model)
    cases = validation_cases(arguments.workspace, HIPPOCAMPUS, arguments.fold)
    restart_tuned("mednext_training.cli", sys.argv[1:])
    raw = arguments.workspace.raw / HIPPOCAMPUS.folder_name
    results = evaluate(bundle, raw, cases, [arguments.fold], mirroring=not arguments.no_mirror)
    table = markdown_table(results)
    if arguments.table:
        arguments.table.write_text(table, encoding="utf-8")
    if arguments.record:
        record_accuracy(bundle, results, arguments.record)
    sys.stdout.write(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mednext-train", description=__doc__)
    parser.add_argument(
        "--workspace",
        type=lambda text: Workspace(Path(text).resolve()),
        default=Workspace(Path("training_runs").resolve()),
        help="folder for raw data, preprocessed data and results (default: training_runs)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="bring the hippocampus data into nnU-Net's layout")
    convert.add_argument("source", type=Path, help="folder with images and labels")
    convert.set_defaults(run=_convert)

    plan = commands.add_parser("plan", help="plan and preprocess at 1 mm")
    plan.add_argument("--patch", type=int, nargs=3, default=(48, 64, 48), metavar=("Z", "Y", "X"))
    plan.add_argument("--batch-size", type=_count, default=2)
    plan.set_defaults(run=_plan)

    training = commands.add_parser("train", help="train one fold, or resume it")
    _add_network(training)
    training.add_argument("--fold", type=int, default=0)
    training.add_argument("--epochs", type=_count, default=1000)
    training.add_argument("--iterations", type=_count, default=250, help="steps in an epoch")
    training.add_argument("--validation-iterations", type=_count, default=50)
    training.add_argument(
        "--checkpointing",
        choices=("none", "expansion", "blocks"),
        help="what the backward pass computes again to save memory (default: blocks for M and L, else none)",
    )
    training.add_argument("--stop-after", type=float, metavar="SECONDS", help="stop at the epoch's end after")
    training.set_defaults(run=_train)

    export = commands.add_parser("export", help="make a bundle of trained folds")
    _add_network(export)
    export.add_argument("target", type=Path, help="folder of the bundle; its name is the model's name")
    export.add_argument("--folds", type=int, nargs="+", default=[0])
    export.add_argument("--checkpoint", choices=("final", "best"), default="final")
    export.add_argument("--task", default="hippocampus", help="task of the catalog that gives the labels")
    export.add_argument("--orientation", help="of the training images, such as RAS (default: read from them)")
    export.add_argument("--version", default="1.0.0", help="of the weights")
    export.set_defaults(run=_export)

    evaluation = commands.add_parser("evaluate", help="Dice of a bundle on a fold's validation cases")
    evaluation.add_argument("model", help="name or folder of the bundle")
    evaluation.add_argument("--fold", type=int, default=0)
    evaluation.add_argument("--no-mirror", action="store_true", help="eight times faster, a little worse")
    evaluation.add_argument("--table", type=Path, help="Markdown file for the table")
    evaluation.add_argument("--record", metavar="SOURCE", help="write the means into model.json, and how")
    evaluation.set_defaults(run=_evaluate)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", choices="SBML", default="S")
    parser.add_argument("--kernel", type=int, choices=(3, 5), default=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, or the error's own."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except MedNeXtError as error:
        sys.stderr.write(f"mednext-train: {error}\n")
        return error.exit_code
    except OSError as error:
        logger.debug("a file cannot be read or written", exc_info=True)
        sys.stderr.write(
            f"mednext-train: {error.filename or 'A file'} cannot be read or written: "
            f"{error.strerror or error}.\n"
        )
        return MedNeXtError.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
