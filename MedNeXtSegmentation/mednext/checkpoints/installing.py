"""Install a foreign checkpoint as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..library.import_memory import check_memory
from ..library.shared_models_folder import exclusive_models_folder
from ..library.store import check_name, refuse_taken
from ..model.description import Model
from .import_options import ImportOptions
from .import_report import ImportReport
from .importing import import_with_report

if TYPE_CHECKING:
    from ..library.download import DownloadProgress, Patience


@dataclass(frozen=True)
class Installing:
    """Choices of an installation, and the functions that tell its course.

    Attributes:
        overwrite: replace an installed model of this name.
        accept_change: accept downloaded files that have changed since their first use on this computer.
        say: gets sentences on the size, the digests and the memory, before each step.
        progress: gets the bytes done and in all of a download.
        patience: of a download.
    """

    overwrite: bool = False
    accept_change: bool = False
    say: Callable[[str], None] = lambda sentence: None
    progress: DownloadProgress | None = None
    patience: Patience | None = None


def install_checkpoint(
    source: Path, name: str, options: ImportOptions | None = None, how: Installing | None = None
) -> tuple[Model, ImportReport]:
    """Import a foreign checkpoint into the models folder, and report the facts that were understood.

    Raises:
        OutOfMemoryError: this computer has less memory than the import takes.
        CheckpointError, BundleError: the checkpoint cannot be imported.
        OptionError: the name or an option is not allowed, or a model of this name is installed.
        OutputError, DiskSpaceError: the models folder is full or cannot be written.
    """
    how = how or Installing()
    refuse_taken(check_name(name), how.overwrite)
    check_memory(source, options.folds if options else None, how.say)
    with exclusive_models_folder() as folder:
        refuse_taken(name, how.overwrite)
        bundle, report = import_with_report(source, folder / name, options)
    return bundle.model, report
