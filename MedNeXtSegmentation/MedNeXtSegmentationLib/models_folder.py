"""The folder of the user's models, as chosen in the panel."""

from __future__ import annotations

import os
from pathlib import Path

from mednext.errors import OutputError, UnknownModelError
from mednext.library.folder_locations import MODELS_VARIABLE, choose_models_folder
from slicer.i18n import tr as _

from . import settings


def useModelsFolder() -> None:
    """Look for models where the user's settings say, unless `$MEDNEXT_MODELS` says where."""
    folder = settings.MODELS_FOLDER.get()
    choose_models_folder(Path(folder) if folder else None)


def isSetOutside() -> bool:
    """Whether `$MEDNEXT_MODELS` says where models are, which wins over the settings."""
    return bool(os.environ.get(MODELS_VARIABLE))


def changeModelsFolder(folder: str) -> None:
    """Keep models in this folder from now on, or with "" where the platform keeps a user's data.

    Raises `OutputError` when nothing can be written there.
    """
    if folder and not (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        raise OutputError(
            _("The folder {folder} cannot be written: choose another one.").format(folder=folder)
        )
    settings.MODELS_FOLDER.set(folder)
    useModelsFolder()


def located(model: str) -> str:
    """The folder of an installed model, for the worker, which may have begun with another models folder.

    What is no name of an installed model is returned as it is: the worker explains it.
    """
    from mednext.library.store import find_model

    try:
        return str(find_model(model))
    except UnknownModelError:
        return model
