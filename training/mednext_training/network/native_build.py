"""Compile the native training kernels once with the machine's C++ compiler, and load them by `ctypes`."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCES = tuple(sorted((Path(__file__).parent / "native").iterdir()))
# Not -ffast-math: a library linked with it makes the whole process flush small numbers to zero.
FLAGS = (
    "-std=gnu++17",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-pthread",
)


@cache
def native_library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there is no compiler or it fails (one line in the log says why).

    Not tried on Windows, where a library of MinGW's does not load into Python by itself.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform == "win32":
        logger.warning("No C++ compiler found: training runs on torch's own, slower layers.")
        return None
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES))
    digest.update(" ".join(FLAGS).encode() + _processor())
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mednext"
    library = cache_folder / f"channels_last_{digest.hexdigest()[:16]}.so"
    try:
        if not library.exists():
            _compile(compiler, library)
    except subprocess.CalledProcessError as error:
        logger.warning("%s failed, training runs on torch's own layers:\n%s", compiler, error.stderr)
        return None
    except OSError as error:  # no such compiler, or a cache folder that cannot be written
        logger.warning("The kernels were not compiled, training runs on torch's own layers: %s", error)
        return None
    return ctypes.CDLL(str(library))


def _compile(compiler: str, library: Path) -> None:
    """Raises `CalledProcessError` when the compiler fails, and `OSError` without one, or without a place."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        built = Path(scratch) / library.name
        units = [str(source) for source in SOURCES if source.suffix == ".cpp"]
        command = [compiler, *FLAGS, "-o", str(built), *units]
        subprocess.run(command, capture_output=True, text=True, check=True)
        built.replace(library)


def _processor() -> bytes:
    """The processor, on which -march=native depends: machines of other kinds may share a home folder."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.machine().encode()
    return next((line for line in information.read_bytes().splitlines() if line.startswith(b"flags")), b"")
