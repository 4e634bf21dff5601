"""The native kernels of this checkout: of `make setup`, or built once and kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from mednext.native_library import load_library

MODULE = Path(__file__).parents[1] / "MedNeXtSegmentation"
SOURCE = MODULE / "native"


@pytest.fixture(scope="session")
def native_library_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the native library, as `$MEDNEXT_NATIVE` names one; skips where it cannot be built.

    Built ones are kept under a digest of the sources, so that only a change of these compiles anew.
    """
    installed = _installed()
    if installed:
        folder = tmp_path_factory.mktemp("native")
        shutil.copyfile(installed, folder / installed.name)
        return folder
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++", "cl")), None)
    cmake = shutil.which("cmake") or shutil.which("cmake", path=Path(sys.executable).parent)
    if compiler is None or cmake is None:
        pytest.skip("the native kernels are not tested: no CMake or no C++ compiler on this machine")
    digest = hashlib.sha256(compiler.encode())
    for file in sorted(SOURCE.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mednext" / "native_tests"
    folder = cache / digest.hexdigest()[:16]
    if not folder.exists():
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
        if not os.access(cache, os.W_OK):  # a user without a home
            folder = tmp_path_factory.mktemp("native") / "library"
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            built = Path(scratch) / "built"
            _build(cmake, Path(scratch), built)
            try:
                built.rename(folder)
            except OSError:  # another session was faster
                assert folder.exists()
    return folder


@pytest.fixture(scope="session")
def native_kernels(native_library_folder: Path) -> ctypes.CDLL:
    """The library of `native_library_folder`, loaded; skips on a processor that it does not know."""
    library = load_library(next(native_library_folder.iterdir()))
    if library is None:
        pytest.skip("the native kernels do not know this processor")
    return library


def _installed() -> Path | None:
    """The library that lies beside the engine's files, if no source was changed since it was built."""
    changed = max(file.stat().st_mtime for file in SOURCE.iterdir())
    found = (file for file in (MODULE / "mednext").glob("mednext_native.*") if file.suffix in {".so", ".dll"})
    return next((file for file in found if file.stat().st_mtime > changed), None)


def _build(cmake: str, scratch: Path, target: Path) -> None:
    """Compile into `target`; a library that does not compile is a failure and not a reason to skip."""
    tree = str(scratch / "tree")
    for arguments in (
        ["-S", str(SOURCE), "-B", tree, f"-DCMAKE_INSTALL_PREFIX={scratch / 'prefix'}"],
        ["--build", tree, "--config", "Release", "--parallel", "2"],
        ["--install", tree, "--config", "Release"],
    ):
        result = subprocess.run([cmake, *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    (scratch / "prefix" / "mednext").rename(target)
