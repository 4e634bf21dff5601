"""Removal of a broken PyTorch's files, since a new installation over them would be broken as well."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mednext.errors import OutputError
from slicer.i18n import tr as _

# Packages of the distributions torch and torchvision, their records, and pip's renamed folders ("~orch").
_NAMES = re.compile(r"(~|t)orch(gen|vision)?|functorch|((~|t)orch|(~|t)orchvision)-[^-]+\.dist-info")


def torchFolders(sitePackages: Path) -> list[Path]:
    """The folders in `sitePackages` that belong to PyTorch."""
    return sorted(
        path for path in sitePackages.glob("*") if path.is_dir() and _NAMES.fullmatch(path.name.casefold())
    )


def removeTorchFolders(sitePackages: Path) -> None:
    """Remove the folders of PyTorch. Raises `OutputError` when a file is in use."""
    for folder in torchFolders(sitePackages):
        try:
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(
                _(
                    "The old PyTorch could not be removed ({error}): a program uses it. Restart Slicer and "
                    'press "Repair" before you use another module. If that does not help, close Slicer and '
                    "delete {folder}."
                ).format(error=error, folder=folder)
            ) from error
