"""Install a foreign checkpoint as a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..library.import_memory import check_memory
from ..library.shared_models_folder import exclusive_models_folder
from ..library.store import check_name, refuse_taken
from ..model.description import Model
from .import_options import ImportOptions
from .import_report import ImportReport
from .importing import import_with_report


def install_checkpoint(
    source: Path,
    name: str,
    options: ImportOptions | None = None,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    told: Callable[[ImportReport], None] = lambda report: None,
) -> Model:
    """Import a foreign checkpoint into the models folder; see `import_with_report`.

    Args:
        say: gets a sentence on the memory that the import takes, before it starts.
        told: gets the report on all that was understood.

    Raises:
        OutOfMemoryError: this computer has less memory than the import takes.
        CheckpointError, BundleError: the checkpoint cannot be imported.
        OptionError: the name or an option is not allowed, or a model of this name is installed.
        OutputError, DiskSpaceError: the models folder is full or cannot be written.
    """
    refuse_taken(check_name(name), overwrite)
    check_memory(source, options.folds if options else None, say)
    with exclusive_models_folder() as folder:
        refuse_taken(name, overwrite)
        bundle, report = import_with_report(source, folder / name, options)
    told(report)
    return bundle.model
