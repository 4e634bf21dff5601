"""The models on this computer: where they live, which there are, how they come and go.

A model is a bundle folder (see `bundle.py`). The default one ships with the program and is read-only; the
others live in one folder of the user's, one sub-folder per model, named like the model.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from .errors import OptionError, UnknownModelError
from .resources import shipped_models_folder

MODELS_VARIABLE = "MEDNEXT_MODELS"

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
# Windows opens a device for these, whatever follows the first dot.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


def models_folder() -> Path:
    """Folder of the user's models: `$MEDNEXT_MODELS`, or the platform's place for a user's data.

    The folder need not exist yet.
    """
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mednext"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "mednext" / "models"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "mednext" / "models"


def check_name(name: str) -> str:
    """Return `name` if it is fit to name a model, which makes it a folder's name on every platform.

    Raises:
        OptionError: it is not.
    """
    if _NAME.fullmatch(name) and name.split(".", maxsplit=1)[0].lower() not in _DEVICES:
        return name
    raise OptionError(
        f"{name!r} cannot be the name of a model. Use 1 to 64 letters, digits, dots, hyphens and "
        "underscores, starting with a letter or a digit."
    )


def installed_names() -> list[str]:
    """Names of the models that can be used now, the shipped ones first."""
    names = dict.fromkeys(_names_in(shipped_models_folder()))
    names.update(dict.fromkeys(_names_in(models_folder())))
    return list(names)


def find_model(name: str) -> Path:
    """Folder of the installed model `name`: shipped with the program, or in the models folder.

    Raises:
        UnknownModelError: no such model is installed; the message lists what is.
    """
    if _NAME.fullmatch(name):
        for folder in (shipped_models_folder(), models_folder()):
            if _is_bundle(folder / name):
                return folder / name
    raise UnknownModelError(
        f"There is no model {name!r}. Installed models: {', '.join(installed_names()) or 'none'}."
    )


def _is_bundle(folder: Path) -> bool:
    return (folder / "model.json").is_file()


def _names_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and _is_bundle(entry)
    )
