"""Models that lie elsewhere, on the command line: their facts and terms, and the acceptance of these."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .console import Console

if TYPE_CHECKING:
    from ..checkpoints.import_report import ImportReport
    from ..library.catalog import PublishedModel, Task
    from ..model.description import Model

_MB = 10**6
_GIB = 2**30


def facts(published: PublishedModel, task: Task) -> dict[str, Any]:
    """The known facts of a model that lies elsewhere, for `--json`."""
    place = published.elsewhere
    assert place is not None
    return {
        "name": published.name,
        "task": task.name,
        "title": published.title,
        "page": place.page,
        "channels": [image.name for image in task.channels],
        "labels": {label.name: label.value for label in task.labels},
        "orientation": place.orientation,
        "orientation_source": place.orientation_source,
        "folds": list(place.folds),
        "fold_bytes": place.fold_bytes,
        "licence": published.licence,
        "dataset": task.dataset.name,
        "dataset_licence": task.dataset.licence,
        "citation": place.citation,
        "tested": place.tested,
        "untested": place.untested,
    }


def about(published: PublishedModel, task: Task) -> list[str]:
    """The same as lines for people."""
    from ..library.import_memory import memory_of_import

    known = facts(published, task)
    size = published.elsewhere.fold_bytes if published.elsewhere else None
    rows = [
        ("Segments", ", ".join(f"{value} {name}" for name, value in known["labels"].items())),
        ("Images", ", ".join(known["channels"]) + ", in this order"),
        ("Stored as", f"{known['orientation']}. {known['orientation_source']}"),
        ("From", known["page"]),
        ("Folds", ", ".join(map(str, known["folds"]))),
        (
            "Size",
            f"about {size / _MB:.0f} MB a fold; the import of one takes up to "
            f"{memory_of_import([size]) / _GIB:.1f} GiB of memory"
            if size
            else "the server tells it",
        ),
        ("Licence", known["licence"]),
        ("Data", f"{known['dataset']}. {known['dataset_licence']}"),
        ("Cite", known["citation"]),
        ("Tested", known["tested"]),
        ("Not tested", known["untested"]),
        ("SHA-256", "not published: it is kept at the first download, and compared at later ones"),
    ]
    return [f"{task.title}, {published.title}", *(f"  {name:<11} {text}" for name, text in rows)]


def install_with_terms(
    published: PublishedModel, task: Task, options: argparse.Namespace, console: Console
) -> tuple[Model, ImportReport]:
    """Install a model that lies elsewhere, once its terms are accepted; with the report on its import.

    Raises:
        OptionError: they are not accepted; and the errors of `install_elsewhere`.
    """
    from ..checkpoints.installing import Installing
    from ..checkpoints.remote.catalogued import install_elsewhere

    for line in about(published, task):
        console.say(line)
    if not options.accept_terms:
        _ask(published)
    with console.download_progress() as progress:
        how = Installing(options.overwrite, options.accept_change, console.say, progress)
        return install_elsewhere(published, task, options.folds, how)


def _ask(published: PublishedModel) -> None:
    """Ask on the terminal whether the terms are accepted."""
    if sys.stdin and sys.stdin.isatty() and sys.stdout.isatty():
        print(
            "Do you accept these terms of the publisher and of the data's owner? [y/N] ", end="", flush=True
        )
        if sys.stdin.readline().strip().casefold() in ("y", "yes"):
            return
    raise OptionError(
        f"{published.name!r} is published by others, under their terms: read them with 'mednext models about "
        f"{published.name}', and accept them with --accept-terms."
    )
