"""Copy images to a device and results back, a part at a time, while the device computes.

Only page-locked memory is copied without waiting; elsewhere than on CUDA every copy is finished at once.
Locking new memory takes longer than copying it, so uploads go through small locked pieces, which torch keeps
and reuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_UNDER_WAY = 2  # copies that are waited for later
_PIECE_BYTES = 2**24  # of page-locked memory
_SLAB_BYTES = 2**22  # of float32 on the CPU, which stays in the caches between two steps


def to_float32(array: np.ndarray, device: torch.device) -> Tensor:
    """A new contiguous float32 tensor on a device with the voxels of any view `(Z, Y, X)`.

    They travel as they are stored, int16 mostly, and get their order and type on the device.
    """
    there = as_stored(array)
    if device.type != "cpu":
        stored = Upload(tensor_of(there.array)[None], device).up_to(len(there.array))[0]
        return there.as_given(stored).to(torch.float32, memory_format=torch.contiguous_format)
    result = torch.from_numpy(np.empty(array.shape, np.float32))  # numpy asks for huge pages, torch does not
    axis = there.order[0]
    length = max(1, _SLAB_BYTES * array.shape[axis] // result.nbytes)
    for start in range(0, array.shape[axis], length):
        slab = (slice(None),) * axis + (slice(start, start + length),)
        part = as_stored(array[slab])
        result[slab].copy_(part.as_given(tensor_of(part.array)))
    return result


@dataclass(frozen=True, eq=False)
class Stored:
    """An array as it lies in memory: a view with its axes in the order of their strides, none negative.

    Attributes:
        array: that view.
        order: for each of its axes, the number of that axis in the given array.
        backwards: axes of the given array with negative strides.
    """

    array: np.ndarray
    order: tuple[int, ...]
    backwards: tuple[int, ...]

    def as_given(self, stored: Tensor) -> Tensor:
        """A tensor of the shape of `array`, in the order and directions of the given array."""
        given = stored.permute(tuple(np.argsort(self.order).tolist()))
        return given.flip(self.backwards) if self.backwards else given

    def as_stored(self, given: Tensor) -> Tensor:
        """The inverse of `as_given`."""
        return (given.flip(self.backwards) if self.backwards else given).permute(self.order)


def as_stored(array: np.ndarray) -> Stored:
    """How an array lies in memory; torch has no negative strides."""
    backwards = tuple(axis for axis, step in enumerate(array.strides) if step < 0)
    ahead = array[tuple(slice(None, None, -1 if axis in backwards else 1) for axis in range(array.ndim))]
    order = tuple(np.argsort([-step for step in ahead.strides], kind="stable").tolist())
    return Stored(ahead.transpose(order), order, backwards)


def tensor_of(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of an array, to be read only, whether or not that may be written to."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    return torch.from_numpy(np.asarray(_Writable(array)))


class _Writable:
    """The memory of an array, declared as writable; torch warns of read-only memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (array.__array_interface__["data"][0], False),
        }


class Upload:
    """An image `(C, Z, Y, X)` on a device, brought there row by row as tiles need it.

    Args:
        image: anywhere.
        device: where it goes; an image that is there already is not copied.
    """

    def __init__(self, image: Tensor, device: torch.device) -> None:
        self._source = image
        there = is_on(image.device, device)
        self._rows = image.shape[1] if there else 0
        self._image = image if there else torch.empty(image.shape, dtype=image.dtype, device=device)
        self._side: torch.cuda.Stream | None = None
        if not there and device.type == "cuda":
            self._side = torch.cuda.Stream(device)  # a copy does not wait for the networks' work
            self._side.wait_stream(torch.cuda.current_stream(device))  # its memory may be reused

    def up_to(self, row: int) -> Tensor:
        """The image; its rows before `row` are on the device for the work that follows."""
        row = min(row, self._source.shape[1])
        if row > self._rows:
            rows = slice(self._rows, row)
            source, target = self._source[:, rows], self._image[:, rows]
            if self._side is None:
                target.copy_(source)
            else:
                _send(source, target, self._side)
            self._rows = row
        return self._image


def is_on(place: torch.device, device: torch.device) -> bool:
    """Whether `place` is this device; "cuda" without a number is the current card."""
    return place.type == device.type and (device.index is None or place.index in (None, device.index))


def _send(source: Tensor, target: Tensor, side: torch.cuda.Stream) -> None:
    """Copy to a card in pieces. The card's next work waits for all of them, the CPU not for the last."""
    under_way: deque[tuple[torch.cuda.Event, Tensor]] = deque()
    with torch.cuda.stream(side):
        for piece, place in pieces(source, target, _PIECE_BYTES):
            locked = torch.empty(piece.shape, dtype=piece.dtype, pin_memory=True)
            locked.copy_(piece)
            place.copy_(locked, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(side)
            under_way.append((copied, locked))
            if len(under_way) > _UNDER_WAY:
                under_way.popleft()[0].synchronize()
    torch.cuda.current_stream(target.device).wait_stream(side)


def pieces(source: Tensor, target: Tensor, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same parts of two tensors of one shape: at most `limit` bytes of the first, or one element."""
    if source.nbytes <= limit or source.numel() == 1:
        yield source, target
        return
    axis = next(axis for axis, side in enumerate(source.shape) if side > 1)
    length = max(1, source.shape[axis] * limit // source.nbytes)
    for part, place in zip(source.split(length, axis), target.split(length, axis), strict=True):
        yield from pieces(part, place, limit)


class Download:
    """Results of a device that are written into arrays on the host."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[torch.cuda.Event, Tensor, np.ndarray]] = deque()

    def begin(self, values: Tensor, target: np.ndarray) -> None:
        """Write `values` into `target`, of the same shape and maybe a view, now or by the end of `finish`."""
        if values.device.type == "cpu":
            target[...] = values.numpy()
            return
        there = as_stored(target)  # the device brings voxels into another order much faster
        values = there.as_stored(values)
        if values.device.type != "cuda":
            there.array[...] = values.cpu().numpy()
            return
        locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        locked.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(values.device))
        self._under_way.append((copied, locked, there.array))
        self._finish(_UNDER_WAY)

    def finish(self) -> None:
        """Wait for all copies."""
        self._finish(0)

    def _finish(self, left: int) -> None:
        while len(self._under_way) > left:
            copied, locked, target = self._under_way.popleft()
            copied.synchronize()
            target[...] = locked.numpy()
