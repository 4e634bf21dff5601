"""A foreign checkpoint as an installed model."""

from __future__ import annotations

from pathlib import Path

from ..library.shared_models_folder import exclusive_models_folder
from ..library.store import check_name, refuse_taken
from ..model.description import Model
from .import_options import ImportOptions
from .importing import import_checkpoint


def install_checkpoint(
    source: Path, name: str, options: ImportOptions | None = None, *, overwrite: bool = False
) -> Model:
    """Make an installed model of a foreign checkpoint; see `import_checkpoint`.

    Raises:
        CheckpointError, BundleError: the checkpoint cannot be imported.
        OptionError: the name or an option is not allowed, or a model of this name is there already.
        OutputError, DiskSpaceError: the models folder cannot take it.
    """
    refuse_taken(check_name(name), overwrite)
    with exclusive_models_folder() as folder:
        refuse_taken(name, overwrite)
        return import_checkpoint(source, folder / name, options).model
