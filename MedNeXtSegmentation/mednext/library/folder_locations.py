"""Find the folder of the files that ship with the program, and the folder of the user's models.

In a wheel the shipped files lie inside the package (`mednext/Resources`); in the Slicer extension and in an
editable install they lie beside it (`MedNeXtSegmentation/Resources`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import CatalogError

MODELS_VARIABLE = "MEDNEXT_MODELS"

_chosen_models_folder: Path | None = None
PACKAGE = Path(__file__).resolve().parents[1]


def resources_folder() -> Path:
    """The `Resources` folder of this installation.

    Raises:
        CatalogError: the installation is incomplete.
    """
    candidates = (PACKAGE / "Resources", PACKAGE.parent / "Resources")
    for candidate in candidates:
        if (candidate / "Models").is_dir():
            return candidate
    raise CatalogError(
        f"The installation is incomplete: there is no folder Resources/Models in {PACKAGE} or beside it. "
        "Reinstall the package or the extension."
    )


def shipped_models_folder() -> Path:
    """Folder of the catalog, its schemas and the default model; part of the program, never written to."""
    return resources_folder() / "Models"


def choose_models_folder(folder: Path | None) -> None:
    """Keep models in this folder instead of the platform's, unless `$MEDNEXT_MODELS` is set."""
    global _chosen_models_folder  # noqa: PLW0603  # for the whole process, like the variable
    _chosen_models_folder = folder


def models_folder() -> Path:
    """Folder of the user's models: `$MEDNEXT_MODELS`, the chosen one, or the platform's for a user's data.

    The folder may not exist yet.
    """
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError:  # "~" with an unknown user
            return Path(named)
    if _chosen_models_folder:
        return _chosen_models_folder
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mednext"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "mednext" / "models"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "mednext" / "models"
