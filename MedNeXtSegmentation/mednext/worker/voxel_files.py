"""Arrays of voxels as `.npy` files, written plane by plane, so that whoever writes can do other things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Planes(Protocol):
    """Has the shape and the type of an array `(Z, Y, X)`, and its planes `(Y, X)` one by one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


def writing(path: Path, array: Planes) -> Iterator[None]:
    """Write an array as `.npy`; comes back before each plane.

    numpy's own `save` does not tell a full disk from other failures. Raises OSError.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": tuple(array.shape),
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for plane in array:
            yield
            file.write(np.ascontiguousarray(plane).data)


def mapped(path: Path) -> np.ndarray:
    """The array in a file, on disk until it is looked at. Raises ValueError or OSError."""
    return np.load(path, mmap_mode="r", allow_pickle=False)
