"""What a broken installation of PyTorch leaves behind: a new one on top of it would be broken as well."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mednext.errors import OutputError
from slicer.i18n import tr as _

# The packages of the distributions torch and torchvision, their records, and what pip sets aside ("~orch").
_NAMES = re.compile(r"(~|t)orch(gen|vision)?|functorch|((~|t)orch|(~|t)orchvision)-[^-]+\.dist-info")


def torchFolders(sitePackages: Path) -> list[Path]:
    """Folders of PyTorch, and of nothing else."""
    return sorted(
        path for path in sitePackages.glob("*") if path.is_dir() and _NAMES.fullmatch(path.name.casefold())
    )


def removeTorchFolders(sitePackages: Path) -> None:
    """Remove them.

    Raises:
        OutputError: a file is in use.
    """
    for folder in torchFolders(sitePackages):
        try:
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(
                _(
                    "The old PyTorch could not be removed ({error}): a program uses it. Restart Slicer and "
                    "repair before you use another module. If that does not help, close Slicer and delete "
                    "{folder}."
                ).format(error=error, folder=folder)
            ) from error
