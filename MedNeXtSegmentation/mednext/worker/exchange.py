"""Objects that two processes exchange through a folder: as JSON, and a file for each array.

Arrays are written plane by plane. Between two planes the caller can do other work: Slicer's windows stay
alive while a large image is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import EngineProcessError
from ..system.json_reading import read_json
from ..system.json_values import from_json, to_json

T = TypeVar("T")

# Keys of objects that stand for a slice, an array and bytes; nobody names a segment like these.
_SLICE, _ARRAY, _BYTES = ("mednext:slice", "mednext:array", "mednext:bytes")


class Planes(Protocol):
    """An array `(Z, Y, X)` as its shape, its type and an iterator of its planes `(Y, X)`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


def writing_object(folder: Path, name: str, value: Any) -> Iterator[None]:
    """Write an object of `json_values`, which may hold arrays (or `Planes`), bytes and slices.

    Yield before each plane. Raises OSError, and the errors of the `Planes`.
    """
    large: list[Any] = []

    def beside(part: Any) -> dict[str, Any]:
        if isinstance(part, slice):
            return {_SLICE: [part.start, part.stop]}
        large.append(part)
        return {_BYTES if isinstance(part, bytes) else _ARRAY: len(large) - 1}

    text = json.dumps(to_json(value), default=beside)
    for number, part in enumerate(large):
        if isinstance(part, bytes):
            _bytes_file(folder, name, number).write_bytes(part)
        else:
            yield from writing(_array_file(folder, name, number), part)
    (folder / name).write_text(text, encoding="utf-8")


def write_object(folder: Path, name: str, value: Any) -> None:
    """As `writing_object`, at once."""
    for _ in writing_object(folder, name, value):
        pass


def read_object(kind: type[T], folder: Path, name: str) -> T:
    """The inverse of `writing_object`; arrays are mapped from their files, which must stay as long.

    Raises `EngineProcessError` where a file is missing or damaged, and the errors of the object's classes.
    """

    def whole(told: Any) -> Any:
        if isinstance(told, list):
            return list(map(whole, told))
        if not isinstance(told, dict):
            return told
        if len(told) == 1:
            ((key, number),) = told.items()
            if key == _SLICE:
                return slice(*number)
            if key == _ARRAY:
                return mapped(_array_file(folder, name, number))
            if key == _BYTES:
                return _bytes_file(folder, name, number).read_bytes()
        return {key: whole(each) for key, each in told.items()}

    told = read_json(folder / name, EngineProcessError)
    try:
        return from_json(kind, whole(told))
    except (TypeError, ValueError, OSError, RecursionError) as cause:
        raise EngineProcessError(f"{folder / name} is not complete: {cause!r}.") from cause


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


def _array_file(folder: Path, name: str, number: int) -> Path:
    return folder / f"{Path(name).stem}_{number:d}.npy"


def _bytes_file(folder: Path, name: str, number: int) -> Path:
    return folder / f"{Path(name).stem}_{number:d}.bin"
