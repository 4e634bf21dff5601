"""Read files of `torch.save` without torch's own loader: a zip, or pickles followed by the numbers.

The pickle names storages, rows of numbers beside it, and defines each tensor as a part of one. A tensor that
is larger than its storage (an expanded one) is refused: with it a file of kilobytes could fill the memory.
"""

from __future__ import annotations

import math
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .inert import Inert, passing_over, without_inert
from .machine import DamagedPickleError, PickleMachine
from .values import Constructor, Name, check_tree, names_of_numpy, names_of_python, sizes

_ZIP_START = b"PK\x03\x04"
_TAR_MARK = slice(257, 262), b"ustar"
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_PICKLE_BYTES = 2**28
_MAX_SHARING = 8  # times that the tensors may be larger together than the storages
_MAX_DIMENSIONS = 16
_MAX_EMPTY_SIDE = 2**16  # of a tensor without numbers

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": None,
}
_TYPES = (
    *filter(None, _STORAGES.values()),
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)


@dataclass(frozen=True)
class _StorageKind:
    """A class of storages: the type of its numbers, or None for bytes."""

    dtype: torch.dtype | None


@dataclass
class _Storage:
    """A row of numbers; `data` are its bytes in this machine's order."""

    dtype: torch.dtype | None
    data: bytearray

    def numbers(self, dtype: torch.dtype | None) -> Tensor:
        """All numbers, `(N,)`."""
        kind = dtype or self.dtype
        if kind is None or (self.dtype and dtype and dtype != self.dtype):
            raise DamagedPickleError("a tensor of another type than its storage")
        return torch.frombuffer(self.data, dtype=kind) if self.data else torch.zeros(0, dtype=kind)


def read_torch_file(path: Path, removed: list[str]) -> Any:
    """The contents of a file of `torch.save`: a tree of containers, plain values and tensors on the CPU.

    Args:
        path: the file.
        removed: gets the key and the class of each entry that was left out, see `inert`.

    Raises:
        UnknownNameError: its pickle names anything else; no code of it was run.
        DamagedPickleError, or any other exception: the file is damaged, or no such file.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(_ZIP_START):
        return _read_zip(path, removed)
    if start[_TAR_MARK[0]] == _TAR_MARK[1]:
        raise DamagedPickleError(
            "a tar file: unpack it, or, if torch before 0.1.10 wrote it, use a newer torch"
        )
    return _read_legacy(path.read_bytes(), removed)


def _read_zip(path: Path, removed: list[str]) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
        if len(members) < len(archive.infolist()) or len(roots) != 1:
            raise DamagedPickleError("a zip that has no data.pkl, or members twice")
        root = roots[0]
        if root + "constants.pkl" in members:
            raise DamagedPickleError("a program of TorchScript; save its state_dict() instead")
        left = path.stat().st_size

        def read(name: str) -> bytearray:
            nonlocal left
            member = members[root + name]
            left -= member.file_size
            if member.compress_type != zipfile.ZIP_STORED or left < 0:
                raise DamagedPickleError("a compressed zip, which torch does not write")
            data = bytearray(member.file_size)
            with archive.open(member) as file:
                count = file.readinto(data)  # type: ignore[attr-defined]
                if count != len(data) or file.read(1):
                    raise DamagedPickleError(f"{name} is truncated")
            return data

        pickled = read("data.pkl")
        order = bytes(read("byteorder")).decode() if root + "byteorder" in members else "little"
        if len(pickled) > _MAX_PICKLE_BYTES or order not in ("little", "big"):
            raise DamagedPickleError(f"a pickle of {len(pickled)} bytes, in the order {order!r}")

        def stored(kind: _StorageKind, key: str, count: int) -> bytearray:
            data = read(f"data/{key}")
            if len(data) < count * _width(kind):
                raise DamagedPickleError(f"storage {key} has {len(data)} bytes")
            return data if order == sys.byteorder else _swapped(data, kind)

        tensors = _Tensors(stored)
        machine = PickleMachine(tensors.names(), tensors.storage, passing_over(pickled))
        return tensors.checked(machine.run(BytesIO(pickled)), removed)


def _read_legacy(data: bytes, removed: list[str]) -> Any:
    """Read the format that torch wrote until 1.5, and still writes on request."""
    file = BytesIO(data)
    plain = names_of_python() | names_of_numpy()
    magic, protocol, system = (PickleMachine(plain).run(file) for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise DamagedPickleError("it does not begin as torch's files do")
    # The numbers follow the pickle that refers to them, so every storage is filled afterwards.
    waiting: dict[str, tuple[_StorageKind, int, bytearray]] = {}
    left = len(data)

    def stored(kind: _StorageKind, key: str, count: int) -> bytearray:
        nonlocal left
        left -= count * _width(kind)
        if left < 0:
            raise DamagedPickleError(f"storage {key} is larger than the file")
        waiting[key] = kind, count, bytearray(count * _width(kind))
        return waiting[key][2]

    tensors = _Tensors(stored)
    value = PickleMachine(tensors.names(), tensors.storage, passing_over(data)).run(file)
    keys = PickleMachine(plain).run(file)
    if not isinstance(keys, list) or sorted(keys) != sorted(waiting):
        raise DamagedPickleError("its storages are not those that it lists")
    little = not isinstance(system, dict) or system.get("little_endian", True)
    for key in keys:
        kind, count, buffer = waiting[key]
        (found,) = struct.unpack("<q" if little else ">q", file.read(8))
        numbers = file.read(len(buffer))
        if found != count or len(numbers) != len(buffer):
            raise DamagedPickleError(f"storage {key} is truncated")
        buffer[:] = numbers if little == (sys.byteorder == "little") else _swapped(bytearray(numbers), kind)
    return tensors.checked(value, removed)


def _width(kind: _StorageKind) -> int:
    return kind.dtype.itemsize if kind.dtype else 1


def _swapped(data: bytearray, kind: _StorageKind) -> bytearray:
    """The numbers with their bytes in the other order."""
    if kind.dtype is None:
        raise DamagedPickleError("numbers of an unknown width from a machine of the other byte order")
    width = _width(kind) // (2 if kind.dtype.is_complex else 1)
    return bytearray(np.frombuffer(data, f"u{width}").byteswap().tobytes())


class _Tensors:
    """Makes the tensors of one file.

    Args:
        stored: the bytes of a storage: its kind, its key and the count of its numbers.
    """

    def __init__(self, stored: Callable[[_StorageKind, str, int], bytearray]) -> None:
        self._stored = stored
        self._storages: dict[str, _Storage] = {}
        self._bytes = 0

    def names(self) -> dict[str, Any]:
        """Everything that the pickle of a checkpoint may name."""
        names = names_of_numpy() | names_of_python()
        for name, dtype in _STORAGES.items():
            for module in ("torch", "torch.cuda", "torch.storage"):
                names[f"{module}.{name}"] = _StorageKind(dtype)
        names |= {f"{dtype}": dtype for dtype in _TYPES}
        names |= {name: Name(name) for name in ("torch.Tensor", "torch.nn.parameter.Parameter")}
        names |= {
            "torch.Size": Constructor(lambda values=(): sizes(values)),
            "torch.device": Constructor(lambda *parts: ":".join(map(str, parts[:2]))),
            "torch._utils._rebuild_tensor": Constructor(self._tensor),
            "torch._utils._rebuild_tensor_v2": Constructor(self._tensor),
            "torch._utils._rebuild_tensor_v3": Constructor(self._typed_tensor),
            "torch._utils._rebuild_parameter": Constructor(_first_tensor),
            "torch._utils._rebuild_parameter_with_state": Constructor(_first_tensor),
            "torch._tensor._rebuild_from_type_v2": Constructor(_rebuilt),
        }
        return names

    def storage(self, reference: Any) -> _Storage | Inert:
        """The storage that a pickle refers to, or the class of a network, with its source in old files."""
        if reference[0] == "module" and isinstance(reference[1], Inert):
            return reference[1]
        word, kind, key, _location, count, *view = reference
        if word != "storage" or not isinstance(kind, _StorageKind) or not isinstance(key, str) or any(view):
            raise DamagedPickleError("a reference to something else than a storage")
        (count,) = sizes((count,))
        if key not in self._storages:
            self._storages[key] = _Storage(kind.dtype, self._stored(kind, key, count))
        elif self._storages[key].dtype != kind.dtype:
            raise DamagedPickleError(f"storage {key} has two types")
        return self._storages[key]

    def checked(self, value: Any, removed: list[str]) -> Any:
        """The value of the file, checked to be a finite tree, without entries of unknown classes."""
        return without_inert(check_tree(value, (Tensor, torch.dtype, Inert)), removed)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_gradients: Any) -> Tensor:
        return self._part(storage, None, offset, shape, strides)

    def _typed_tensor(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        _gradient: Any,
        _hooks: Any,
        dtype: Any,
        *_: Any,
    ) -> Tensor:
        if not isinstance(dtype, torch.dtype):
            raise DamagedPickleError("a tensor without a type")
        return self._part(storage, dtype, offset, shape, strides)

    def _part(self, storage: Any, dtype: torch.dtype | None, offset: Any, shape: Any, strides: Any) -> Tensor:
        """A tensor of some of a storage's numbers, which it shares with other tensors."""
        if not isinstance(storage, _Storage):
            raise DamagedPickleError("a tensor without a storage")
        numbers = storage.numbers(dtype)
        shape, strides, (offset,) = sizes(shape), sizes(strides), sizes((offset,))
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        count = math.prod(shape)
        longest = len(numbers) if count else _MAX_EMPTY_SIDE
        if len(shape) > _MAX_DIMENSIONS or max(shape, default=0) > longest or count > len(numbers):
            raise DamagedPickleError(f"a tensor of the shape {shape}, larger than its storage")
        if count and last >= len(numbers):
            raise DamagedPickleError("a tensor that leaves its storage")
        self._bytes += count * numbers.itemsize
        if self._bytes > _MAX_SHARING * sum(len(known.data) for known in self._storages.values()):
            raise DamagedPickleError("tensors that are far larger than the file")
        return numbers.as_strided(shape, strides, offset) if count else numbers[:0].reshape(shape)


def _first_tensor(tensor: Any, *_state: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise DamagedPickleError("a parameter that is no tensor")
    return tensor


def _rebuilt(function: Any, _kind: Any, arguments: Any, _state: Any) -> Tensor:
    """A tensor with attributes of its own, which are skipped."""
    if not isinstance(function, Constructor):
        raise DamagedPickleError("a tensor without a constructor")
    return _first_tensor(function.build(*arguments))
