"""Zip files with any member names, also such as no packer would write."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def zipped(folder: Path, members: Mapping[str, bytes]) -> Path:
    """`folder/made.zip` with these members."""
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path
