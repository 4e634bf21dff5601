"""Arrays of voxels as `.npy` files, written plane by plane, so that the caller can do other work between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Planes(Protocol):
    """An array `(Z, Y, X)` as its shape, its type and an iterator of its planes `(Y, X)`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


def writing(path: Path, array: Planes) -> Iterator[None]:
    """Write an array as `.npy`; yield before each plane. Raises OSError.

    numpy's own `save` does not tell a full disk from other failures.
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
    """The array in a file, which stays on disk until it is accessed. Raises ValueError or OSError."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError):
        raise
    except Exception as error:  # boundary: numpy lets Python's tokenizer read the header of a file
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from error
