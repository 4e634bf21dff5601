"""`mednext models`: list, install, import, export and remove models."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .console import Console
from .run_options import add_output_options

_ADDRESSES = ("http://", "https://")

if TYPE_CHECKING:
    from ..checkpoints.import_report import ImportReport
    from ..library.catalog import Catalog, Task
    from ..model.description import Model


def add_parser(commands: Any) -> None:
    """Add the command with its sub-commands to the parser."""
    parser = commands.add_parser(
        "models", help="list, install, import, export, remove models", allow_abbrev=False
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(actions)
    _add_about(actions)
    _add_install(actions)
    _add_import(actions)
    _add_export(actions)
    _add_remove(actions)
    _add_clean(actions)


def _action(actions: Any, name: str, run: Any, text: str) -> Any:
    parser = actions.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(run=run)
    add_output_options(parser.add_argument)
    parser.add_argument(
        "--events",
        action="store_true",
        help="for programs: JSON in lines, progress and at last the result; cancelled when stdin is closed",
    )
    return parser.add_argument


def _add_list(actions: Any) -> None:
    add = _action(actions, "list", _list, "show tasks, and the models that are installed or can be")
    add("words", metavar="WORD", nargs="*", help="only tasks that match these words, such as: kidney ct")


def _list(options: argparse.Namespace, console: Console) -> None:
    from ..library.catalog_source import load_catalog
    from ..library.folder_locations import models_folder
    from ..library.store import installed_models

    remarks: list[str] = []
    catalog = load_catalog(refresh=True, remarks=remarks)
    words = " ".join(options.words)
    tasks = catalog.search(words)
    known = {task.name for task in catalog.tasks}
    wanted = {task.name for task in tasks}
    models = [
        model
        for model in installed_models()
        if model.task in wanted or (model.task not in known and _mentions(model, words))
    ]
    document = {
        "models_folder": str(models_folder()),
        "installed": [_described(model) for model in models],
        "tasks": [_task_described(task, catalog) for task in tasks],
        "remarks": remarks,
    }
    lines = ["Installed models:", *(_line(m.name, f"{m.title}, {m.version}, task {m.task}") for m in models)]
    lines += ["", "Tasks:", *(_line(task.name, _state(task, catalog, models)) for task in tasks)]
    lines += [
        "",
        "Weights of your own: train them (mednext-train), or import a checkpoint (mednext models import).",
    ]
    console.done(document, *lines)


def _mentions(model: Model, words: str) -> bool:
    text = f"{model.name} {model.title} {model.description}".casefold()
    return all(word in text for word in words.casefold().split())


def _described(model: Model) -> dict[str, Any]:
    from ..library.store import find_model, is_shipped

    return {
        "name": model.name,
        "version": model.version,
        "task": model.task,
        "title": model.title,
        "channels": [channel.name for channel in model.channels],
        "labels": {label.name: label.value for label in model.labels},
        "regions": {region.name: list(region.labels) for region in model.regions},
        "folds": [fold.index for fold in model.folds],
        "licence": model.licence,
        "shipped": is_shipped(model.name),
        "path": str(find_model(model.name)),
    }


def _task_described(task: Task, catalog: Catalog) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "channels": [image.name for image in task.channels],
        "labels": {label.name: label.value for label in task.labels},
        "regions": {region.name: list(region.labels) for region in task.regions},
        "published": [model.name for model in catalog.models_for(task.name)],
        "see": list(task.see),
        "weights": task.weights,
    }


def _line(name: str, text: str) -> str:
    return f"  {name:<20} {text}"


def _state(task: Task, catalog: Catalog, installed: list[Model]) -> str:
    here = [model.name for model in installed if model.task == task.name]
    if here:
        return f"{task.title}: installed as {', '.join(here)}"
    published = catalog.models_for(task.name)
    if not published:
        others = f"; see {', '.join(task.see)}" if task.see else ""
        return f"{task.title}: no published weights{others}"
    downloads = [model.name for model in published if model.can_be_fetched]
    return (
        f"{task.title}: mednext models install {downloads[0]}"
        if downloads
        else f"{task.title}: {task.weights}"
    )


def _add_about(actions: Any) -> None:
    add = _action(actions, "about", _about, "show facts and terms of a model that others published")
    add("name", metavar="NAME", help="a model of the catalog")


def _about(options: argparse.Namespace, console: Console) -> None:
    from ..library.catalog_source import load_catalog
    from .model_terms import about, facts

    catalog = load_catalog()
    published = catalog.model(options.name)
    task = catalog.task(published.task) if published else None
    if published is None or published.elsewhere is None or task is None:
        known = ", ".join(model.name for model in catalog.models if model.elsewhere) or "none"
        raise OptionError(f"{options.name!r} is no model that others published; those are: {known}.")
    console.done({"model": facts(published, task)}, *about(published, task))


def _add_install(actions: Any) -> None:
    add = _action(
        actions, "install", _install, "install a model from the catalog, a zip file, a folder or an address"
    )
    add(
        "source",
        metavar="NAME|ZIP|FOLDER|URL",
        help="model of the catalog, zip file or folder of a model (with a slash), or its address",
    )
    add("--sha256", metavar="HEX", help="SHA-256 of the zip, needed with an address")
    add("--accept-terms", action="store_true", help="accept the terms of a model that others published")
    add("--folds", type=_folds, help="folds of such a model to fetch, such as 0,1; by default the first one")
    add("--accept-change", action="store_true", help="accept such a model although its files have changed")
    add("--overwrite", action="store_true", help="replace an installed model of the same name")


def _install(options: argparse.Namespace, console: Console) -> None:
    from ..library.catalog_source import load_catalog
    from ..library.store import install_from_folder, install_from_url, install_from_zip, install_published
    from .model_terms import install_with_terms

    source, overwrite = options.source, options.overwrite
    catalog = load_catalog()
    published = catalog.model(source)
    if published and published.elsewhere and (task := catalog.task(published.task)):
        model, report = install_with_terms(published, task, options, console)
        return _report_installed(model, console, report)
    if options.folds:
        raise OptionError(f"--folds is for models that others published, and {source!r} is none of them.")
    with console.download_progress() as progress:
        if source.startswith(_ADDRESSES):
            if not options.sha256:
                raise OptionError(
                    "An address needs --sha256, the digest that its publisher gives for the file."
                )
            model = install_from_url([source], sha256=options.sha256, overwrite=overwrite, progress=progress)
        elif source.lower().endswith(".zip"):
            model = install_from_zip(source, overwrite=overwrite)
        elif "/" in source or os.sep in source:
            model = install_from_folder(source, overwrite=overwrite)
        else:
            model = install_published(source, overwrite=overwrite, progress=progress)
    _report_installed(model, console)


def _report_installed(model: Model, console: Console, report: ImportReport | None = None) -> None:
    described = _described(model)
    line = f"Installed {model.name} {model.version} in {described['path']}."
    told = {"report": report.to_json()} if report else {}
    console.done({"model": described, **told}, *(report.lines() if report else ()), line)


def _add_import(actions: Any) -> None:
    add = _action(
        actions, "import", _import, "make a model of a checkpoint of nnU-Net (v1, v2), MONAI or others"
    )
    add(
        "source",
        metavar="PATH|URL",
        help="results folder of nnU-Net or its zip file, a checkpoint, or a file of weights; or the address "
        "of a file or of a zip file",
    )
    add("--name", help="name of the new model")
    add(
        "--member",
        metavar="NAME",
        action="append",
        default=[],
        help="with the address of a zip file: a file or folder in it to fetch; may be repeated",
    )
    add(
        "--list", action="store_true", help="with the address of a zip file: show its members and their sizes"
    )
    add(
        "--accept-change",
        action="store_true",
        help="with an address: accept files that have changed since their first use on this computer",
    )
    add(
        "--channels",
        metavar="NAME,NAME",
        type=_names,
        help="names of the images in the network's order, where those of the checkpoint are missing or wrong",
    )
    add("--task", help="task of the catalog whose labels, colours and codes the model has")
    add("--labels", metavar="1=NAME,2=NAME", type=_labels, help="names of the label values, where unknown")
    add("--orientation", metavar="CODE", help="directions of the training images' axes, such as RAS")
    add("--images", metavar="FOLDER", type=Path, help="training images, to read orientation and size from")
    add(
        "--mirror-axes",
        metavar="0,1,2|none",
        type=_axes,
        help="axes along which the training mirrored, where the checkpoint does not name them",
    )
    add(
        "--skull",
        choices=("removed", "present"),
        default="",
        help="whether the training images show brains alone or heads (default: as the task says)",
    )
    add("--folds", type=_folds, help="folds to take, such as 0,1 or all; by default every numbered one")
    add(
        "--weights",
        dest="checkpoint",
        choices=("final", "best"),
        help="which weights of a training (final, or the only ones that are there)",
    )
    add("--configuration", metavar="NAME", help="trained one of nnU-Net v2's plans, where nothing tells it")
    add("--part", metavar="NAME", help="place of the network in a file with several, such as ema")
    add(
        "--grn",
        dest="grn_denominator",
        choices=("mean", "sum"),
        help="denominator of MedNeXt-v2's global response normalisation",
    )
    add(
        "--dry-run",
        action="store_true",
        help="only report the facts that are known and those that are missing",
    )
    add(
        "--full-precision",
        dest="half",
        action="store_false",
        help="store the weights with 32 bits instead of 16",
    )
    add(
        "--description",
        metavar="FILE",
        type=Path,
        help="JSON file with the facts that a file of weights lacks (MONAI, MIST, Lightning)",
    )
    add("--model-version", dest="version", default="1.0.0", help="version of the new model (%(default)s)")
    for text in ("title", "licence", "citation", "training-data"):
        add(f"--{text}", default="", help=f"{text.replace('-', ' ')} of the new model")
    add("--overwrite", action="store_true", help="replace an installed model of the same name")


def _import(options: argparse.Namespace, console: Console) -> None:
    from dataclasses import fields

    from ..checkpoints import ImportOptions, examine_checkpoint
    from ..checkpoints.installing import Installing, install_checkpoint
    from ..checkpoints.remote.address import install_from_address

    source = options.source
    is_address = source.startswith(_ADDRESSES)
    if not is_address and (options.member or options.list or options.accept_change):
        raise OptionError("--member, --list and --accept-change need an address that begins with https://.")
    if is_address and options.dry_run:
        raise OptionError("--dry-run needs a path on this computer: download the files first.")
    if options.list:
        return _list_members(source, options.member, console)
    if not options.name:
        raise OptionError("--name is missing: give the new model a name.")
    chosen = ImportOptions(**{each.name: getattr(options, each.name) for each in fields(ImportOptions)})
    if options.dry_run:
        report = examine_checkpoint(Path(source), options.name, chosen)
        console.done({"report": report.to_json()}, *report.lines())
        return
    with console.download_progress() as progress:
        how = Installing(options.overwrite, options.accept_change, console.say, progress)
        if is_address:
            model, report = install_from_address(source, options.member, options.name, chosen, how)
        else:
            model, report = install_checkpoint(Path(source), options.name, chosen, how)
    _report_installed(model, console, report)


def _list_members(url: str, wanted: list[str], console: Console) -> None:
    """Show the members of a zip file on a server; with words, those whose names contain all of them."""
    from ..checkpoints.remote.address import members_at

    members = [
        member
        for member in members_at(url)
        if all(word.casefold() in member.name.casefold() for word in wanted)
    ]
    document = {"members": [{"name": m.name, "bytes": m.size, "packed": m.packed} for m in members]}
    lines = [f"{member.size:>14,} bytes  {member.name}" for member in members]
    console.done(document, *lines, f"{len(members)} members; fetch some with --member NAME.")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise OptionError(f"--channels must name each image once, like T1,FLAIR, not {text!r}.")
    return names


def _labels(text: str) -> dict[int, str]:
    try:
        pairs = [pair.split("=", 1) for pair in text.split(",")]
        labels = {int(value): name.strip() for value, name in pairs}
    except ValueError:
        raise OptionError(f"--labels must be like 1=spleen,2=liver, not {text!r}.") from None
    if len(labels) < len(pairs):
        raise OptionError(f"--labels must name each number once, not {text!r}.")
    return labels


def _axes(text: str) -> tuple[int, ...]:
    try:
        return () if text.strip() == "none" else tuple(int(axis) for axis in text.split(","))
    except ValueError:
        raise OptionError(f"--mirror-axes must be axes like 0,1,2 or 'none', not {text!r}.") from None


def _folds(text: str) -> tuple[int | str, ...]:
    try:
        return tuple(fold if fold == "all" else int(fold) for fold in text.split(","))
    except ValueError:
        raise OptionError(f"--folds must be numbers like 0,1 or 'all', not {text!r}.") from None


def _add_export(actions: Any) -> None:
    add = _action(actions, "export", _export, "pack a model into a zip file for another computer")
    add("name", metavar="NAME", help="an installed model")
    add("file", metavar="FILE", type=Path, help="the zip file to write")
    add("--overwrite", action="store_true", help="replace a file that is there already")


def _export(options: argparse.Namespace, console: Console) -> None:
    from ..library.store import export_zip

    if options.file.suffix.lower() != ".zip":
        raise OptionError(f"{options.file} must be named *.zip, so that 'mednext models install' takes it.")
    path = export_zip(options.name, options.file, overwrite=options.overwrite)
    console.done({"file": str(path)}, f"Exported {options.name} to {path}.")


def _add_remove(actions: Any) -> None:
    add = _action(actions, "remove", _remove, "remove an installed model")
    add("name", metavar="NAME", help="an installed model")


def _remove(options: argparse.Namespace, console: Console) -> None:
    from ..library.store import remove

    remove(options.name)
    console.done({"removed": options.name}, f"Removed {options.name}.")


def _add_clean(actions: Any) -> None:
    add = _action(actions, "clean", _clean, "remove unfinished downloads, which are kept to be resumed")
    add("--older-than", metavar="DAYS", type=float, default=0.0, help="only those unchanged for so long")


def _clean(options: argparse.Namespace, console: Console) -> None:
    from ..library.kept_downloads import downloads_folder, kept_downloads, remove_downloads

    removed = remove_downloads(options.older_than)
    left, freed = len(kept_downloads()), sum(kept.bytes for kept in removed)
    document = {
        "folder": str(downloads_folder()),
        "freed_bytes": freed,
        "removed": len(removed),
        "left": left,
    }
    still = f" {left} newer or in use are still there." if left else ""
    console.done(document, f"Removed {len(removed)} unfinished downloads, {freed / 2**20:.1f} MiB.{still}")
