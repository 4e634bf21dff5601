"""The native library: no exception of C++ ends the process, and it is built for the compiler's target."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.environment.python_programs import output_of_python
from fixtures.machines.native_build import SOURCE
from mednext.network.native_library import Kernels

ENGINE = SOURCE.parent

# A process with little more memory than it has already: a kernel asks for 2 GB of scratch.
OUT_OF_MEMORY = """
import ctypes, os, resource, sys
import numpy as np
from mednext.network.native_library import Kernels, load_library
from mednext.inference.resampling.native import Band, Resampling
kernels = Kernels(load_library(__import__("pathlib").Path(sys.argv[1])))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
weights = np.zeros(1, np.float32)  # the band below says that there are more: the copy of them fails first
band = Band(weights.ctypes.data, 2**30, 1)
job = Resampling(weights.ctypes.data, weights.ctypes.data, 1, 2, band)
try:
    kernels.resample(ctypes.byref(job), 1)
except MemoryError as error:
    print("told:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
def test_memory_that_runs_out_in_the_library_is_a_memory_error(native_library_folder: Path) -> None:
    library = next(native_library_folder.iterdir())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = output_of_python("-c", OUT_OF_MEMORY, str(library), env=environment)
    assert "told: The native kernels ran out of memory." in said


def test_names_with_underscores_are_not_kernels(native_kernels: ctypes.CDLL) -> None:
    """copy and pickle look for such names."""
    with pytest.raises(AttributeError):
        _ = Kernels(native_kernels).__deepcopy__


def test_the_compilers_target_decides_and_not_the_hosts_name(
    tmp_path: Path, native_kernels: ctypes.CDLL
) -> None:
    """A cross build tells CMake another processor than the compiler's: the kernels follow the compiler."""
    cmake = shutil.which("cmake", path=Path(sys.executable).parent) or shutil.which("cmake")
    if cmake is None:
        pytest.skip("there is no CMake on this machine")
    toolchain = tmp_path / "toolchain.cmake"
    toolchain.write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR some-other-processor)\n", encoding="utf-8"
    )
    tree = tmp_path / "tree"
    configure = ["-S", str(SOURCE), "-B", str(tree), f"-DCMAKE_TOOLCHAIN_FILE={toolchain}"]
    result = subprocess.run([cmake, *configure], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    flags = (tree / "CMakeFiles" / "mednext_native.dir" / "flags.make").read_text(encoding="utf-8")
    x86_64 = b"avx" in Kernels(native_kernels).name.encode()
    assert ("-mavx2" in flags) is x86_64
