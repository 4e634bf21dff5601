"""Find a model by its name, or in a folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..errors import UnknownModelError
from ..model.bundle import Bundle
from ..model.model_file import read_model
from ..system.atomic import recover_folder
from .folder_locations import expanded
from .store import find_model


def load_bundle(name_or_path: str | Path) -> Bundle:
    """The bundle of an installed model, or the one in a folder.

    Args:
        name_or_path: the name of an installed model, or a bundle's folder. A text that is both is a name.

    Raises:
        UnknownModelError: no model of this name is installed, and there is no such folder.
        BundleFormatError, UnsafePathError: `model.json` is missing, wrong or unsafe.
    """
    folder = _folder_of(name_or_path)
    return Bundle(folder, read_model(folder))


def _folder_of(name_or_path: str | Path) -> Path:
    path = expanded(name_or_path)
    if not path.exists():
        with suppress(OSError):  # a read-only folder around it
            recover_folder(path)
    is_name = isinstance(name_or_path, str) and path.name == name_or_path
    if not is_name and not path.is_dir():
        raise UnknownModelError(
            f"There is no folder {path}. Give the folder of a model or the name of an installed one; a zip "
            "is installed first, with 'mednext models install'."
        )
    if not is_name:
        return path
    try:
        return find_model(str(name_or_path))
    except UnknownModelError:
        if path.is_dir():
            return path
        raise
