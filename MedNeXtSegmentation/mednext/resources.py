"""Where the files that ship with the package are: the catalog, the schemas, the default model.

In a wheel they lie inside the package (`mednext/Resources`); in the Slicer extension and in an editable
install they lie beside it (`MedNeXtSegmentation/Resources`).
"""

from __future__ import annotations

from pathlib import Path

from .errors import CatalogError

_PACKAGE = Path(__file__).resolve().parent


def resources_folder() -> Path:
    """The `Resources` folder of this installation.

    Raises:
        CatalogError: the installation is incomplete.
    """
    candidates = (_PACKAGE / "Resources", _PACKAGE.parent / "Resources")
    for candidate in candidates:
        if (candidate / "Models").is_dir():
            return candidate
    raise CatalogError(
        f"The installation is incomplete: there is no folder Resources/Models in {_PACKAGE} or beside it. "
        "Reinstall the package or the extension."
    )


def shipped_models_folder() -> Path:
    """Folder of the catalog, its schemas and the default model; part of the program, never written to."""
    return resources_folder() / "Models"
