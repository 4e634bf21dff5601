"""Install a model of the catalog that others published in their own form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DownloadError
from ...library.catalog import PublishedModel, Task
from ...library.elsewhere import Elsewhere
from ...library.remote_folder import RemotePart, parts_at_addresses, parts_of_zip
from ...library.store import check_name, refuse_taken
from ...model.description import Model
from ..import_options import ImportOptions
from ..import_report import ImportReport
from ..installing import Installing
from .address import install_parts

if TYPE_CHECKING:
    from ...library.download import Patience
    from ...library.download.remote_zip import Member


def install_elsewhere(
    published: PublishedModel,
    task: Task,
    folds: Sequence[int] | None = None,
    how: Installing | None = None,
) -> tuple[Model, ImportReport]:
    """Download a model that lies elsewhere, and install it under its name in the catalog.

    Names and order of channels and labels are those of the catalog's task, not those of the files.

    Args:
        folds: those to install; None takes the first one.

    Raises:
        OptionError: there is no such fold, or a model of this name is installed.
        DownloadError, DiskSpaceError, OutputError: see `fetched_folder`.
        OutOfMemoryError, CheckpointError, BundleError: see `install_checkpoint`.
    """
    place, how = published.elsewhere, how or Installing()
    assert place is not None
    refuse_taken(check_name(published.name), how.overwrite)
    chosen = tuple(folds) if folds is not None else place.folds[:1]
    wanted = import_options(published, task, chosen)
    try:
        parts = _parts(place, place.names(chosen), how.patience)
        return install_parts(parts, published.name, wanted, how, lambda folder: _missing_facts(task, folder))
    except DownloadError as error:
        raise type(error)(
            f"{error} The page of this model is {place.page}: if its publisher has moved or removed it, no "
            "newer address is known here; files from elsewhere can be imported with 'mednext models import'."
        ) from error


def _missing_facts(task: Task, folder: Path) -> dict[str, str]:
    """The `dataset.json` of nnU-Net v2, from the catalog, if its publisher has plans without one."""
    told = [path.read_bytes() for path in folder.rglob("metadata.json")]
    has_dataset = (folder / "dataset.json").exists() or any(b'"dataset_json"' in text for text in told)
    if has_dataset or not (folder / "plans.json").is_file():
        return {}
    dataset = {
        "channel_names": {str(number): image.name for number, image in enumerate(task.channels)},
        "labels": {"background": 0, **{label.name: label.value for label in task.labels}},
        "file_ending": ".nii.gz",
    }
    return {"dataset.json": json.dumps(dataset)}


def import_options(published: PublishedModel, task: Task, folds: Sequence[int]) -> ImportOptions:
    """The facts of the catalog as options of the import."""
    place = published.elsewhere
    assert place is not None
    return ImportOptions(
        task=task.name,
        labels={label.value: label.name for label in task.labels},
        channels=tuple(image.name for image in task.channels),
        orientation=place.orientation,
        folds=tuple(folds),
        checkpoint=place.checkpoint,
        version=published.version,
        title=f"{task.title}, {published.title}",
        licence=published.licence,
        citation=place.citation,
        training_data=task.dataset.name,
    )


def _parts(place: Elsewhere, names: Mapping[str, str], patience: Patience | None) -> list[RemotePart]:
    if place.archive is None:
        return parts_at_addresses(names, patience)

    def choose(members: Sequence[Member]) -> dict[str, Member]:
        from ...library.download.remote_zip import find_members

        return {path: find_members(members, [name])[0] for path, name in names.items()}

    return parts_of_zip(place.archive, choose, patience)
