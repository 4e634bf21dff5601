"""Commands on trained models: `export` and `evaluate`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from mednext.inference.options import QUALITIES, STANDARD, Options
from mednext.model.description import Model
from mednext.model.model_file import MODEL_FILE
from mednext.system.atomic import check_place, replacing
from mednext.system.devices import PRECISIONS
from mednext.system.memory_settings import restart_tuned
from mednext.system.shown_text import shown_lines

from ..datasets import Dataset
from ..learnt_cases import check_not_trained_on_all, warn_of_learnt_cases
from ..workspace import Workspace
from .arguments import add_dataset, add_network, address, chosen_dataset, fold


def add_commands(commands: Any) -> None:
    """Add this group's commands to the command line."""
    export = commands.add_parser("export", help="make a bundle of trained folds")
    add_dataset(export)
    add_network(export)
    export.add_argument("target", type=Path, help="folder of the bundle; its name is the model's name")
    export.add_argument(
        "--folds", type=fold, nargs="+", help="numbers, or all (default: every finished numbered fold)"
    )
    export.add_argument("--checkpoint", choices=("final", "best"), default="final")
    export.add_argument("--orientation", help="of the training images, such as RAS (default: read from them)")
    export.add_argument("--version", default="1.0.0", help="of the weights")
    export.set_defaults(run=_export)

    evaluation = commands.add_parser("evaluate", help="measure a bundle on its validation cases")
    add_dataset(evaluation)
    evaluation.add_argument("model", help="name or folder of the bundle")
    which = evaluation.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, help="this one only (default: every fold of the bundle)")
    which.add_argument(
        "--test", action="store_true", help="the ensemble of all folds on the test cases (imagesTs, labelsTs)"
    )
    which.add_argument(
        "--unseen",
        action="store_true",
        help="the ensemble on every case of imagesTr, for a model that was trained elsewhere",
    )
    evaluation.add_argument("--quality", choices=QUALITIES, default=STANDARD, help="as of mednext segment")
    evaluation.add_argument("--precision", choices=PRECISIONS, help="on the CPU; instead of the quality's")
    evaluation.add_argument("--no-mirror", action="store_true", help="eight times faster, a little worse")
    evaluation.add_argument("--table", type=Path, help="Markdown file for the table")
    evaluation.add_argument("--csv", type=Path, help="file for the score of each structure in each case")
    evaluation.add_argument("--record", metavar="SOURCE", help="write the means into model.json, and how")
    evaluation.add_argument(
        "--keep-largest",
        action="store_true",
        help="write into model.json the labels whose Dice rises where only their largest component is kept",
    )
    evaluation.set_defaults(run=_evaluate)

    publication = commands.add_parser(
        "publish", help="write a model's zip and the catalog's entry, and try both from a local server"
    )
    add_dataset(publication)
    publication.add_argument("model", help="name or folder of the bundle")
    publication.add_argument("--to", type=Path, required=True, help="folder for the zip and catalog.json")
    publication.add_argument(
        "--url", type=address, required=True, help="where the zip will be, such as a release's assets"
    )
    publication.add_argument("--catalog", type=Path, help="that gets the entry (default: the shipped)")
    publication.add_argument(
        "--images",
        type=Path,
        nargs="+",
        help="one file per channel, to try the model on (default: the first case of the data set)",
    )
    publication.set_defaults(run=_publish)


def _export(arguments: argparse.Namespace) -> None:
    from ..publishing.bundle_export import (
        check_trained_labels,
        export_bundle,
        export_options,
        trained_orientation,
        training_history,
    )
    from ..training.result_folders import finished_folds, results_folder

    workspace, dataset = chosen_dataset(arguments)
    source = results_folder(workspace, dataset, arguments.variant, arguments.kernel, arguments.name)
    folds = tuple(dict.fromkeys(arguments.folds or finished_folds(source)))
    check_trained_labels(source, dataset)
    options, description = export_options(
        workspace,
        dataset,
        f"MedNeXt-{arguments.variant}, kernel {arguments.kernel}",
        folds=folds,
        checkpoint=arguments.checkpoint,
        version=arguments.version,
        orientation=arguments.orientation or trained_orientation(source, folds),
    )
    history = training_history(source, folds)
    training_data = ". ".join(filter(None, (options.training_data, history)))
    export_bundle(source, arguments.target, replace(options, training_data=training_data), description)


def _evaluate(arguments: argparse.Namespace) -> None:
    from mednext import load_bundle

    from ..evaluation.case_results import evaluate, markdown_table, write_csv
    from ..evaluation.kept_largest import KeptLargest
    from ..publishing.bundle_export import check_same_names, record_accuracy, record_kept_largest

    workspace, dataset = chosen_dataset(arguments)
    bundle = load_bundle(arguments.model)
    check_same_names(bundle.model, dataset)
    part = "Ts" if arguments.test else "Tr"
    cases = _cases_by_fold(arguments, workspace, dataset, bundle.model)
    decision = KeptLargest(bundle.model) if arguments.keep_largest else None
    mirroring = False if arguments.no_mirror else None
    options = Options(quality=arguments.quality, precision=arguments.precision, mirroring=mirroring)
    changed = bundle.path / MODEL_FILE if arguments.record or decision else None
    for path in filter(None, (arguments.table, arguments.csv, changed)):
        check_place(path)  # before hours of work
    restart_tuned("mednext_training.cli", sys.argv[1:])
    results = [
        replace(result, fold=fold)
        for fold, names in cases.items()
        for result in evaluate(
            bundle,
            workspace.raw / dataset.folder_name,
            names,
            folds=None if fold is None else [fold],
            part=part,
            judge=decision.judge if decision else None,
            options=options,
            ending=dataset.file_ending,
            ignored=dataset.ignored,
        )
    ]
    table = markdown_table(results)
    if arguments.table:
        with replacing(arguments.table) as temporary:
            temporary.write_text(table, encoding="utf-8")
    if arguments.csv:
        write_csv(arguments.csv, results)
    source = arguments.record
    if decision:
        bundle = record_kept_largest(bundle, decision.decided())
        table += "\n" + decision.text()
        if source and decision.decided():
            source += "; measured before largest components alone were kept"
    if source:
        record_accuracy(bundle, results, source)
    sys.stdout.write(shown_lines(table))


def _cases_by_fold(
    arguments: argparse.Namespace, workspace: Workspace, dataset: Dataset, model: Model
) -> dict[int | None, list[str]]:
    """The cases by the fold that segments them; None for all folds together."""
    from ..planning.splits import cases_of, split_of, validation_cases

    if arguments.test or arguments.unseen:
        part = "Ts" if arguments.test else "Tr"
        return {None: cases_of(workspace.raw / dataset.folder_name, part, dataset.file_ending)}
    check_not_trained_on_all(model)
    every = [each.index for each in model.folds]
    folds = every if arguments.fold is None else [arguments.fold]
    for number in folds:
        warn_of_learnt_cases(model, number, split_of(workspace, dataset, number))
    return {number: validation_cases(workspace, dataset, number) for number in folds}


def _publish(arguments: argparse.Namespace) -> None:
    from mednext import load_bundle

    from ..evaluation.case_results import images_of
    from ..planning.splits import cases_of
    from ..publishing.release import publish

    images = arguments.images
    if images is None:
        workspace, dataset = chosen_dataset(arguments)
        raw = workspace.raw / dataset.folder_name
        ending = dataset.file_ending
        images = images_of(raw, "Tr", cases_of(raw, "Tr", ending)[0], ending)
    bundle = load_bundle(arguments.model)
    catalog = publish(bundle, arguments.to, arguments.url, images, arguments.catalog)
    sys.stdout.write(
        f"{bundle.model.name} works from a server. Upload the zip in {arguments.to} to {arguments.url}, and "
        f"put the entry of {catalog} into the catalog.\n"
    )
