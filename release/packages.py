"""Build the archives of a release: wheel, source archive, and the extension as Slicer installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "build_extension", "build_python_packages"]

ROOT = Path(__file__).parents[1]
SLICER_CMAKE = ROOT / "Testing" / "slicer_cmake"


def build_python_packages(folder: Path) -> list[Path]:
    """Build the wheel and the source archive into a folder.

    Raises:
        subprocess.CalledProcessError: the build failed; its output is on the terminal.
    """
    before = set(folder.iterdir())
    _run([sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "sdist", "-t", "wheel"])
    return sorted(set(folder.iterdir()) - before)


def build_extension(folder: Path, scratch: Path, slicer_version: str, revision: str, commit: str) -> Path:
    """Pack the extension by its own CMake files, laid out as Slicer's packaging does it.

    Args:
        folder: gets the archive.
        scratch: for CMake's build tree, outside the sources.
        slicer_version: major and minor number of the Slicer that the archive is for, such as "5.12".
        revision: that Slicer's revision, such as "34045": the Extensions Manager compares it.
        commit: hash of the packed sources.

    Raises:
        FileNotFoundError: CMake is missing.
        subprocess.CalledProcessError: CMake or the compiler failed; the output is on the terminal.
    """
    tree = scratch / "extension"
    options = {
        "Slicer_DIR": SLICER_CMAKE,
        "Slicer_VERSION": slicer_version,
        "Slicer_REVISION": revision,
        "EXTENSION_COMMIT": commit,
        "CMAKE_BUILD_TYPE": "Release",
        "CPACK_OUTPUT_FILE_PREFIX": folder,
    }
    _run([_program("cmake"), "-S", str(ROOT), "-B", str(tree), *(f"-D{k}={v}" for k, v in options.items())])
    _run([_program("cmake"), "--build", str(tree), "--parallel", "2"])
    before = set(folder.iterdir())
    _run([_program("cpack"), "--config", str(tree / "CPackConfig.cmake")], cwd=tree)
    shutil.rmtree(folder / "_CPack_Packages", ignore_errors=True)
    return next(file for file in folder.iterdir() if file not in before and file.name.endswith(".tar.gz"))


def _program(name: str) -> str:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(name, path=beside)
    if found is None:
        raise FileNotFoundError(f"{name} was not found. Install CMake (pip install cmake ninja).")
    return found


def _run(command: list[str], cwd: Path = ROOT) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=sys.stderr)
