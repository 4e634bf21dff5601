"""A Python as Slicer has its own, with a folder of packages that a test may break and mend.

The folder holds links to the packages of the present Python, and its `pip` and `light_the_torch` make and
remove such links: nothing is downloaded and nothing is lost. With $OFFLINE set they fail as without a
network; $WAITS_FOR is a file that they wait for, as for a long download.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

HERE_PACKAGES = Path(sysconfig.get_paths()["purelib"])
TORCH = r"torch(gen|vision)?|functorch|(torch|torchvision)-.*|torchvision\.libs"

INSTALLER = """
import os, re, shutil, sys, time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
sys.path.insert(0, {tests!r})
from slicer_python import INSTALLABLE, link_packages

here = Path(__file__).parents[1]
command, names = sys.argv[1], [re.split("[<>=!~]", word)[0] for word in sys.argv[2:] if word[0] != "-"]
print(" ".join(["{program}", *sys.argv[1:]]), flush=True)
while os.environ.get("WAITS_FOR") and not Path(os.environ["WAITS_FOR"]).exists():
    time.sleep(0.01)
if os.environ.get("OFFLINE"):
    print("ERROR: Could not find a version that satisfies the requirement: no network", flush=True)
    sys.exit(1)
for name in names:
    entries = [path for path in here.iterdir() if re.fullmatch(INSTALLABLE.get(name, "-"), path.name)]
    if command == "install":
        link_packages(here, INSTALLABLE[name], Path({source!r}))
        print("Successfully installed", name, flush=True)
    elif not any(path.name.endswith(".dist-info") for path in entries):
        print("WARNING: Skipping", name, "as it is not installed.", flush=True)
    else:
        for path in entries:
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
"""

INSTALLABLE = {
    "torch": r"torch(gen)?|functorch|torch-.*\.dist-info",
    "torchvision": r"torchvision(-.*|\.libs)?",
    "safetensors": r"safetensors(-.*)?",
}

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
    without = (*without, "pip", "pip-.*")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    program = folder / "bin" / "PythonSlicer"
    program.symlink_to("python")
    packages = next(folder.glob("lib/python*/site-packages"))
    python = SlicerPython(program, packages)
    python.link(rf"(?!(?:{'|'.join(without)})$).*")
    for name in ("pip", "light_the_torch"):
        code = INSTALLER.format(tests=str(Path(__file__).parent), source=str(HERE_PACKAGES), program=name)
        python.add(name, None, {"__init__.py": "", "_patch.py": "", "__main__.py": code})
    return python


def link_packages(packages: Path, pattern: str, source: Path = HERE_PACKAGES) -> None:
    """Link what a folder of packages has by names that fit into another one."""
    for entry in source.iterdir():
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


def use_slicer_python(python: SlicerPython, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be the Slicer of that Python: the same packages to import, and its `PythonSlicer`."""
    monkeypatch.setenv("PATH", path_with(python.program.parent))
    swapped = [str(python.packages) if Path(entry) == HERE_PACKAGES else entry for entry in sys.path]
    monkeypatch.setattr(sys, "path", swapped)
    for name in ("torch", "torchvision"):  # other tests have imported them into this process
        monkeypatch.delitem(sys.modules, name, raising=False)
