"""A Python as Slicer has its own, with a folder of packages that a test may break and mend.

The folder holds links to the packages of the present Python, so nothing is installed and nothing is lost.
"""

from __future__ import annotations

import os
import re
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE_PACKAGES = Path(sysconfig.get_paths()["purelib"])
TORCH = r"torch(gen|vision)?|functorch|(torch|torchvision)-.*|torchvision\.libs"

WHOLE_LOOKS = {
    "__init__.py": """
        from types import SimpleNamespace as _N
        __version__ = "2.9.0+{build}"
        version = _N(cuda={cuda!r}, hip=None)
        def _available():
            import warnings
            if {warning!r}:
                warnings.warn({warning!r})
            return False
        cuda = _N(is_available=_available)
        backends = _N(mps=_N(is_available=lambda: False))
        def from_numpy(array):
            raise RuntimeError("Numpy is not available")
    """
}


@dataclass(frozen=True)
class SlicerPython:
    """A Python of its own.

    Attributes:
        program: as Slicer calls it, `PythonSlicer`.
        packages: its site-packages.
    """

    program: Path
    packages: Path

    def add(self, distribution: str, version: str | None, files: dict[str, str]) -> None:
        """Add a package of these files, with a record of this version unless that is None."""
        for name, text in files.items():
            file = self.packages / distribution / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        if version:
            self.add_record(distribution, version)

    def add_record(self, distribution: str, version: str) -> None:
        """What pip writes about an installed package."""
        record = self.packages / f"{distribution}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")

    def link(self, pattern: str) -> None:
        """Add the packages of the present Python whose names fit."""
        link_packages(self.packages, pattern)


def make_slicer_python(folder: Path, without: Sequence[str] = (TORCH,)) -> SlicerPython:
    """Make one that has all that the present Python has, but for these packages (regular expressions)."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    program = folder / "bin" / "PythonSlicer"
    program.symlink_to("python")
    packages = next(folder.glob("lib/python*/site-packages"))
    python = SlicerPython(program, packages)
    python.link(rf"(?!(?:{'|'.join(without)})$).*")
    return python


def link_packages(packages: Path, pattern: str) -> None:
    """Link what the present Python has by names that fit into a folder."""
    for entry in HERE_PACKAGES.iterdir():
        target = packages / entry.name
        if re.fullmatch(pattern, entry.name) and not target.exists():
            target.symlink_to(entry)


def plant_nvidia_smi(folder: Path) -> None:
    """A driver's tool that knows a card, to be found by `$PATH`."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA RTX A4000, 550.54.14, 16376'\n")
    program.chmod(0o755)


def path_with(folder: Path) -> str:
    """`$PATH` with a folder in front."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
