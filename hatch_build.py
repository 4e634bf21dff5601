"""Build the native kernels into the wheel, or beside the sources of an editable installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

ROOT = Path(__file__).parent
SOURCE = ROOT / "MedNeXtSegmentation" / "native"
PACKAGE = ROOT / "MedNeXtSegmentation" / "mednext"


class NativeKernels(BuildHookInterface):
    """Build hook of hatchling. Without CMake or a compiler the wheel is pure Python, and slower on CPUs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library, and tell hatchling its file and the platform of the wheel."""
        with tempfile.TemporaryDirectory() as scratch:
            try:
                library = build(Path(scratch))
            except (OSError, subprocess.CalledProcessError) as error:
                self.app.display_warning(f"The native kernels were not built ({error}): CPUs will be slower.")
                return
            target = PACKAGE / library.name
            shutil.copyfile(library, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)  # a running process may use the old one
        build_data["artifacts"].append(f"/{target.relative_to(ROOT).as_posix()}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{next(iter(platform_tags()))}"


def build(scratch: Path) -> Path:
    """Build the library in a folder and return its path.

    Raises:
        OSError: there is no CMake.
        subprocess.CalledProcessError: there is no compiler, or it failed.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    cmake = shutil.which("cmake", path=environment["PATH"])
    if cmake is None:
        raise FileNotFoundError("CMake was not found")
    tree, prefix = scratch / "tree", scratch / "prefix"
    for arguments in (
        [
            "-S",
            str(SOURCE),
            "-B",
            str(tree),
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_INSTALL_PREFIX={prefix}",
        ],
        ["--build", str(tree), "--config", "Release", "--parallel", "2"],
        ["--install", str(tree), "--config", "Release"],
    ):
        subprocess.run([cmake, *arguments], check=True, env=environment)
    return next((prefix / "mednext").iterdir())
