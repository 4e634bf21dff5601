"""The folder of the user's models, chosen in the panel."""

from __future__ import annotations

import os
from pathlib import Path

from mednext.errors import OutputError, UnknownModelError
from mednext.library.folder_locations import MODELS_VARIABLE, choose_models_folder
from slicer.i18n import tr as _

from . import settings


def useModelsFolder() -> None:
    """Use the models folder of the user's settings, unless `$MEDNEXT_MODELS` is set."""
    folder = settings.MODELS_FOLDER.get()
    choose_models_folder(Path(folder) if folder else None)


def isSetOutside() -> bool:
    """Whether `$MEDNEXT_MODELS` is set, which takes precedence over the settings."""
    return bool(os.environ.get(MODELS_VARIABLE))


def changeModelsFolder(folder: str) -> None:
    """Keep models in this folder from now on; "" stands for the platform's folder of user data.

    Raises `OutputError` for a folder that cannot be written.
    """
    if folder and not (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        raise OutputError(
            _("The folder {folder} cannot be written: choose another one.").format(folder=folder)
        )
    settings.MODELS_FOLDER.set(folder)
    useModelsFolder()


def located(model: str) -> str:
    """The folder of an installed model, since the worker may have started with another models folder.

    Another text is returned unchanged, and the worker raises the error.
    """
    from mednext.library.store import find_model

    try:
        return str(find_model(model))
    except UnknownModelError:
        return model
