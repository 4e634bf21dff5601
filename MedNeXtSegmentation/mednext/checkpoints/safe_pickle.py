"""Reading the pickles of foreign checkpoints without running anything that they ask for.

A pickle is a program. Here it may build plain containers, numbers, texts and numpy arrays, and nothing else:
every other name that it wants to import is refused before it is looked up.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import CheckpointError, MissingPackageError, UnsafeCheckpointError

_MAX_PICKLE_BYTES = 2**30
_MIN_TORCH = (2, 6)  # before, weights_only=True could be tricked into running code (CVE-2025-32434)

# What a damaged pickle makes the unpickler raise.
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes; any other encoding than latin-1 would import a codec."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _numpy_constructors() -> dict[str, Callable[..., Any]]:
    """Numpy's unpickling functions, under the names of numpy 1 and of numpy 2."""
    array: Any = np.zeros(1).__reduce__()[0]
    buffer: Any = np.zeros(1).__reduce_ex__(5)[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    names: dict[str, Callable[..., Any]] = {"numpy.dtype": np.dtype, "numpy.ndarray": np.ndarray}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = array
        names[f"{core}.multiarray.scalar"] = scalar
        names[f"{core}.numeric._frombuffer"] = buffer
    return names


_NUMPY = _numpy_constructors()
_ALLOWED: dict[str, Callable[..., Any]] = {
    **_NUMPY,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encode,
    **{
        f"{module}.{kind.__name__}": kind
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, bytearray, complex)
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get(f"{module}.{name}")
        if allowed is None:
            raise UnsafeCheckpointError(
                f"{self._path} asks for {module}.{name}, which a checkpoint has no use for and which could "
                "harm this computer. Nothing of it was run. Get the checkpoint from a source you trust."
            )
        return allowed

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"a reference to an object outside of the file, {pid!r}")


def load_pickle(path: Path) -> Any:
    """The contents of a `.pkl` file: containers, numbers, texts, numpy arrays.

    Raises:
        UnsafeCheckpointError: the pickle asks for anything else; nothing of it was run.
        CheckpointError: the file cannot be read, is truncated, or is not a pickle.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_PICKLE_BYTES:
            raise CheckpointError(f"{path} has {size} bytes, which is too large for the plans of a model.")
        with path.open("rb") as file:
            return _Unpickler(file, path).load()
    except OSError as cause:
        raise CheckpointError(f"{path} cannot be read: {cause.strerror or cause}.") from cause
    except _DAMAGE as cause:
        raise CheckpointError(f"{path} is truncated or not a pickle ({cause}). Copy it again.") from cause


def load_torch(path: Path) -> Any:
    """The contents of a file of `torch.save`, on the CPU: tensors, and what `load_pickle` allows.

    Raises:
        UnsafeCheckpointError: the file asks for anything else; nothing of it was run.
        CheckpointError: the file cannot be read, is truncated, or was not written by `torch.save`.
        MissingPackageError: this torch is too old to do it safely.
    """
    import torch

    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < _MIN_TORCH:
        raise MissingPackageError(
            f"Importing checkpoints needs torch 2.6 or newer, because torch {torch.__version__} cannot read "
            "them safely. Update torch."
        )
    numbers = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    named = [(function, name) for name, function in _NUMPY.items()]
    try:
        with torch.serialization.safe_globals([*numbers, *named]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as cause:
        raise CheckpointError(f"{path} cannot be read: {cause.strerror or cause}.") from cause
    except pickle.UnpicklingError as cause:
        raise _refusal(path, str(cause)) from cause
    except (*_DAMAGE, RuntimeError, zipfile.BadZipFile) as cause:
        raise CheckpointError(f"{path} is truncated or not a checkpoint of torch. Copy it again.") from cause


def _refusal(path: Path, message: str) -> CheckpointError:
    wanted = re.search(r"GLOBAL ([\w.]+)", message)
    if wanted:
        return UnsafeCheckpointError(
            f"{path} asks for {wanted[1]}, which a checkpoint has no use for and which could harm this "
            "computer. Nothing of it was run. Get the checkpoint from a source you trust."
        )
    if "Unsupported operand" in message:
        return UnsafeCheckpointError(
            f"{path} is not a checkpoint of torch, or one with instructions that cannot be followed safely. "
            "Nothing of it was run. Get the checkpoint from a source you trust."
        )
    return CheckpointError(f"{path} is damaged or not a checkpoint of torch. Copy it again.")
