"""Read as many voxels as the header says; take memory only after the files proved long enough."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import UnreadableImageError
from ...system.free_memory import obtainable_memory
from .foreign_files import refuse_foreign

RAW, DEFLATED, TEXT, HEX = "raw", "deflated", "text", "hex"

_CHUNK = 1 << 20
_DENSEST = 1032  # bytes that one byte of a zlib or gzip stream can become
_LONGEST_LINE = 1 << 16
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class StoredVoxels:
    """The place and form of an image's voxels in files.

    Attributes:
        files: one, or several with equal shares of the voxels.
        dtype: of a voxel, with its byte order.
        shape: `(Z, Y, X)`.
        packing: RAW, DEFLATED (zlib or gzip), TEXT (decimal numbers) or HEX (two digits for a byte).
        skip: bytes before the voxels, counted after unpacking if they are DEFLATED; None: the voxels are the
            last bytes of the file.
        start: offset in the file, packed or not, of everything above.
        skip_lines: lines after `start`, before anything is unpacked.
        image: the file that a user knows, for messages.
    """

    files: tuple[Path, ...]
    dtype: np.dtype
    shape: tuple[int, int, int]
    packing: str
    image: Path
    skip: int | None = 0
    start: int = 0
    skip_lines: int = 0

    @property
    def count(self) -> int:
        """The number of voxels in all files."""
        return math.prod(self.shape)


def read_voxels(voxels: StoredVoxels) -> tuple[np.ndarray, str]:
    """The array `(Z, Y, X)` in the byte order of this machine, and a warning about bytes left over, or "".

    Raises `UnreadableImageError` for files that are missing, damaged, truncated, or at least a slice longer
    than the header says, `MemoryError` when the voxels need more memory than there is.
    """
    share, odd = divmod(voxels.count, len(voxels.files))
    if odd:
        raise UnreadableImageError(
            f"{voxels.image} spreads {voxels.count} voxels over {len(voxels.files)} files, which is no whole "
            "number for each: correct its header."
        )
    _check_sizes(voxels, share)
    free = obtainable_memory()
    if free is not None and voxels.count * voxels.dtype.itemsize > free:
        raise MemoryError
    array = np.empty(voxels.count, voxels.dtype)
    left_over = 0
    for number, file in enumerate(voxels.files):
        left_over += _fill(array[number * share : (number + 1) * share], voxels, file)
    native = voxels.dtype.newbyteorder("=")
    if voxels.dtype != native:
        array = array.byteswap(inplace=True).view(native)
    told = (
        f"{voxels.image.name} holds {left_over} bytes more than its header says; they were left out."
        if left_over
        else ""
    )
    return array.reshape(voxels.shape), told


def check_stream(file: Path, start: int) -> None:
    """Read the compressed voxels that begin at the byte `start` to their end, and their checksum.

    Raises `UnreadableImageError` when they are damaged or end early.
    """
    with file.open("rb") as stream:
        stream.seek(start)
        try:
            for _ in _inflated(stream):
                pass
        except zlib.error as error:
            raise _damaged(file, error) from error


def _damaged(file: Path, error: zlib.error) -> UnreadableImageError:
    return UnreadableImageError(f"{file} is damaged ({error}): copy it again.")


def _check_sizes(voxels: StoredVoxels, share: int) -> None:
    """Refuse files that are too short for their share, before memory is taken or a slow file is read."""
    least = share * voxels.dtype.itemsize
    if voxels.packing == DEFLATED:
        least //= _DENSEST
    elif voxels.packing != RAW:
        least = 2 * share - 1 if voxels.packing == TEXT else 2 * least
    if voxels.packing == RAW:
        least += voxels.skip or 0
    for file in voxels.files:
        missing = least + voxels.start - file.stat().st_size
        if missing > 0:
            if file != voxels.image:
                refuse_foreign(file)
            raise _truncated(voxels, file, missing)


def _fill(array: np.ndarray, voxels: StoredVoxels, file: Path) -> int:
    """Read one file's share of the voxels; return the number of bytes left over."""
    with file.open("rb") as stream:
        stream.seek(voxels.start)
        for _ in range(voxels.skip_lines):
            if not stream.readline(_LONGEST_LINE):
                raise _truncated(voxels, file, array.nbytes)
        if voxels.packing in (TEXT, HEX):
            stream.seek(voxels.skip or 0, os.SEEK_CUR)
        if voxels.packing == TEXT:
            return _from_text(array, voxels, stream, file)
        if voxels.packing == RAW:
            rest = os.fstat(stream.fileno()).st_size - stream.tell()
            skip = rest - array.nbytes if voxels.skip is None else voxels.skip
            if skip < 0:
                raise _truncated(voxels, file, -skip)
            stream.seek(skip, os.SEEK_CUR)
            return _from_bytes(array, voxels, _pieces(stream), file)
        if voxels.packing == HEX:
            return _from_bytes(array, voxels, _from_hex(stream, voxels.image), file)
        try:
            return _from_bytes(array, voxels, _without_first(_inflated(stream), voxels.skip or 0), file)
        except zlib.error as error:
            raise _damaged(file, error) from error


def _from_bytes(array: np.ndarray, voxels: StoredVoxels, pieces: Iterator[bytes], file: Path) -> int:
    target = memoryview(array.view(np.uint8).data) if array.size else memoryview(b"")
    done, left_over = 0, 0
    most = max(1, math.prod(voxels.shape[1:]) * voxels.dtype.itemsize)
    for piece in pieces:
        taken = min(len(piece), len(target) - done)
        target[done : done + taken] = piece[:taken]
        done += taken
        left_over += len(piece) - taken
        if left_over >= most:
            raise UnreadableImageError(
                f"{file} holds at least {left_over} bytes more than the header of {voxels.image.name} says, "
                "a slice or more: its header is wrong, or the file is another image's."
            )
    if done < len(target):
        raise _truncated(voxels, file, len(target) - done)
    return left_over


def _from_text(array: np.ndarray, voxels: StoredVoxels, stream: BinaryIO, file: Path) -> int:
    """Read decimal numbers between white space."""
    words = stream.read().split()
    if len(words) < array.size:
        raise UnreadableImageError(
            f"{file} is truncated, {array.size - len(words)} of its numbers are missing: copy it again."
        )
    if len(words) > array.size:
        raise UnreadableImageError(f"{file} has {len(words)} numbers, but its header says {array.size}.")
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise UnreadableImageError(f"{file} has voxels that are no numbers: copy it again.") from error
    with np.errstate(invalid="ignore"):
        array[:] = numbers.astype(voxels.dtype)
    if voxels.dtype.kind != "f" and not np.array_equal(array, numbers):
        raise UnreadableImageError(f"{file} has numbers that its type, {voxels.dtype.name}, cannot hold.")
    return 0


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(_CHUNK):
        yield piece


def _from_hex(stream: BinaryIO, image: Path) -> Iterator[bytes]:
    digits = b""
    for piece in _pieces(stream):
        digits += b"".join(piece.split())
        even = len(digits) // 2 * 2
        try:
            yield bytes.fromhex(digits[:even].decode("ascii"))
        except ValueError as error:
            raise UnreadableImageError(f"{image} has voxels that are no hexadecimal digits.") from error
        digits = digits[even:]


def _without_first(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[skip:]
        skip = max(0, skip - len(piece))


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of a zlib stream, or of the members of a gzip file, at most a MiB at once.

    Raises `zlib.error` for a damaged stream and for one that ends early.
    """
    inflater = zlib.decompressobj(47)  # zlib or gzip, whose checksum it verifies
    data = stream.read(_CHUNK)
    while data:
        yield inflater.decompress(data, _CHUNK)
        data = inflater.unconsumed_tail or (b"" if inflater.eof else stream.read(_CHUNK))
        if inflater.eof:
            data = inflater.unused_data + stream.read(_CHUNK)
            if not data.startswith(_GZIP):
                return
            inflater = zlib.decompressobj(47)
    yield inflater.flush()
    if not inflater.eof:
        raise zlib.error("the compressed stream ends early")


def _truncated(voxels: StoredVoxels, file: Path, missing: int) -> UnreadableImageError:
    return UnreadableImageError(
        f"{file} is truncated, its last {missing} bytes are missing, or the header of {voxels.image.name} is "
        "wrong: copy it again."
    )
