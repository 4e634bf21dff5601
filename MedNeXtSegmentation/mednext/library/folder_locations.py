"""Find the folder of the files that ship with the program, and the folder of the user's models.

In a wheel the shipped files lie inside the package (`mednext/Resources`); in the Slicer extension and in an
editable install they lie beside it (`MedNeXtSegmentation/Resources`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import CatalogError, OutputError

MODELS_VARIABLE = "MEDNEXT_MODELS"

_chosen_models_folder: Path | None = None
_NOWHERE = Path(os.devnull, "mednext")
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


def expanded(path: str | Path) -> Path:
    """The path with "~" and "~user" replaced, where that user and home are known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def made_models_folder() -> Path:
    """`models_folder`, made if it is not there. Raises `OutputError` and OSError."""
    folder = models_folder()
    if folder == _NOWHERE:
        raise OutputError(f"This user has no home folder: set {MODELS_VARIABLE} to a folder for models.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def models_folder() -> Path:
    """Folder of the user's models: `$MEDNEXT_MODELS`, the chosen one, or the platform's for a user's data.

    The folder may not exist yet. For a user without a home, as in some containers, it never does.
    """
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        return expanded(named)
    if _chosen_models_folder:
        return _chosen_models_folder
    try:
        home = Path.home()
    except RuntimeError:
        return _NOWHERE
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mednext"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "mednext" / "models"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "mednext" / "models"
