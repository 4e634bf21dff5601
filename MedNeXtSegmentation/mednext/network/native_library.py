"""Load and call the native kernels of `MedNeXtSegmentation/native`; the program works without them."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..errors import DeviceError

logger = logging.getLogger(__name__)

VERSION = 4  # of the functions below; a library of another version is not used
# Voxels times channels of the largest tile for which the plain network is the reference on the CPU.
PLAIN_NUMBERS = 32 * 48**3
CHANNELS = 32  # activations have a multiple of this number of channels

SAME, DOWN, UP = 0, 1, 2  # stride of a depthwise convolution
NONE, IDENTITY, CONVOLUTION = 0, 1, 2  # residual path of a block

_DONE, _OUT_OF_MEMORY, _NOT_NEIGHBOURS = 0, 1, 3  # `Status` of exported_functions.h

_SUFFIX = ".dll" if sys.platform == "win32" else ".so"  # CMake's for a module
# The folder of a library built by the user; "off" for none.
_FOLDER_VARIABLE = "MEDNEXT_NATIVE"


class Depthwise(ctypes.Structure):
    """`Depthwise` of network_jobs.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("input", "kernel", "output")),
        *((name, ctypes.c_int64) for name in ("in_z", "in_y", "in_x", "out_z", "out_y", "out_x")),
        *((name, ctypes.c_int64) for name in ("channels", "k", "stride")),
    ]


class Pointwise(ctypes.Structure):
    """`Pointwise` of network_jobs.h."""

    _fields_ = [
        ("depthwise", Depthwise),
        *((name, ctypes.c_void_p) for name in ("expansion", "compression", "residual_weights")),
        *((name, ctypes.c_void_p) for name in ("expansion_bias", "compression_bias", "target")),
        ("hidden_squares", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("hidden", "out_channels", "residual")),
        *((name, ctypes.c_int64) for name in ("target_y", "target_x", "offset", "add")),
    ]


class Kernels:
    """The kernels of one instruction set.

    Args:
        library: the one of `native_library`.
        name: such as "avx2", or "avx512_bf16", which stores activations as bfloat16; by default the best for
            this processor in float32.

    Raises:
        DeviceError: the processor lacks these instructions.
    """

    def __init__(self, library: ctypes.CDLL, name: str | None = None) -> None:
        self._library = library
        self._handle = library.mednext_kernels(name.encode() if name else None)
        if not self._handle:
            raise DeviceError(f"This processor cannot run the kernels {name!r}: choose others.")
        self.name: str = library.mednext_name(self._handle).decode()
        self.bytes_per_value: int = library.mednext_bytes(self._handle)

    def channel_at(self, position: int) -> int:
        """The channel at this position of a depthwise convolution's output."""
        return int(self._library.mednext_channel_at(self._handle, position))

    def __getattr__(self, name: str) -> Callable[..., bool]:
        """Make `kernels.pack(...)` call `mednext_pack` of library.cpp.

        A function returns False only for labels whose weights are neither linear nor nearest. It raises
        MemoryError when memory ran out, and DeviceError for every other exception of C++.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(_call, getattr(self._library, f"mednext_{name}"), self._handle)


def _call(function: Callable[..., int], *arguments: Any) -> bool:
    status = function(*arguments)
    if status == _OUT_OF_MEMORY:
        raise MemoryError("The native kernels ran out of memory.")
    if status not in (_DONE, _NOT_NEIGHBOURS):
        raise DeviceError("The native kernels failed with an exception of C++: report this as a bug.")
    return status == _DONE


@cache
def native_library() -> ctypes.CDLL | None:
    """The library; None where it is missing, does not load, or does not support this processor."""
    path = library_file()
    return None if path is None else load_library(path)


def load_library(path: Path) -> ctypes.CDLL | None:
    """The library in a file, ready to be called; None, with a line in the log, if it cannot be used."""
    try:
        library = ctypes.CDLL(str(path))
        version = library.mednext_version()
        _declare(library)
    except (OSError, AttributeError) as error:
        logger.warning("The native kernels in %s cannot be used (%s): continuing without them.", path, error)
        return None
    if version != VERSION or not library.mednext_kernels(None):
        logger.info("The native kernels in %s do not fit this program or this processor.", path)
        return None
    return library


def library_file() -> Path | None:
    """The path of the library: in the package `mednext`, or one folder up in the extension's build tree."""
    chosen = os.environ.get(_FOLDER_VARIABLE)
    if chosen == "off":
        return None
    here = Path(__file__).parents[1]
    folders = [Path(chosen)] if chosen else [here, here.parent]
    files = (folder / f"mednext_native{_SUFFIX}" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _declare(library: ctypes.CDLL) -> None:
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.mednext_version.restype = number
    library.mednext_kernels.argtypes, library.mednext_kernels.restype = [ctypes.c_char_p], pointer
    library.mednext_name.argtypes, library.mednext_name.restype = [pointer], ctypes.c_char_p
    library.mednext_bytes.argtypes, library.mednext_bytes.restype = [pointer], number
    for name, arguments in (
        ("pack", [pointer, pointer, number, number, pointer]),
        ("fold", [pointer, pointer, pointer, pointer, number, number, pointer, pointer, number]),
        ("depthwise", [ctypes.POINTER(Depthwise), pointer, pointer, number]),
        ("pointwise", [ctypes.POINTER(Pointwise), number]),
        ("resample", [pointer, number]),
        ("label", [pointer, number]),
        ("stem", [pointer, pointer, pointer, pointer, number, number, number, number]),
        ("head", [pointer, pointer, pointer, pointer, number, number, number, number]),
    ):
        function = getattr(library, f"mednext_{name}")
        function.argtypes, function.restype = [pointer, *arguments], number
    library.mednext_channel_at.argtypes, library.mednext_channel_at.restype = [pointer, number], number
