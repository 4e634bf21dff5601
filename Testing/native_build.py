"""The native kernels, built once from the sources of this checkout and kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from mednext.native_library import load_library

SOURCE = Path(__file__).parents[1] / "MedNeXtSegmentation" / "native"


@pytest.fixture(scope="session")
def native_library_folder() -> Path:
    """A folder with the native library, as `$MEDNEXT_NATIVE` names one; skips where it cannot be built.

    Kept under a digest of the sources, so that only a change of these compiles anew.
    """
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++", "cl")), None)
    if compiler is None or shutil.which("cmake") is None:
        pytest.skip("the native kernels are not tested: no CMake or no C++ compiler on this machine")
    digest = hashlib.sha256(compiler.encode())
    for file in sorted(SOURCE.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mednext" / "native_tests"
    folder = cache / digest.hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            built = Path(scratch) / "built"
            _build(Path(scratch), built)
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


def _build(scratch: Path, target: Path) -> None:
    """Compile into `target`; a library that does not compile is a failure and not a reason to skip."""
    tree = str(scratch / "tree")
    for arguments in (
        ["-S", str(SOURCE), "-B", tree, f"-DCMAKE_INSTALL_PREFIX={scratch / 'prefix'}"],
        ["--build", tree, "--config", "Release", "--parallel", "2"],
        ["--install", tree, "--config", "Release"],
    ):
        result = subprocess.run(["cmake", *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    (scratch / "prefix" / "mednext").rename(target)
