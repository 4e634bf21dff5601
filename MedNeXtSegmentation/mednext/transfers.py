"""What goes to a device and comes back from it, a part at a time, while it computes.

Only page-locked memory is copied without waiting; elsewhere than on CUDA every copy is finished at once.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

_UNDER_WAY = 2  # copies that are waited for later


class Upload:
    """An image `(C, Z, Y, X)` on a device, brought there row by row as tiles need it.

    Args:
        image: anywhere.
        device: where it goes; an image that is there already is not copied.
    """

    def __init__(self, image: Tensor, device: torch.device) -> None:
        self._source = image
        there = image.device == device
        self._rows = image.shape[1] if there else 0
        self._image = image if there else torch.empty(image.shape, dtype=image.dtype, device=device)

    def up_to(self, row: int) -> Tensor:
        """The image, whose rows before `row` are there for the work that follows."""
        row = min(row, self._source.shape[1])
        if row > self._rows:
            rows = slice(self._rows, row)
            part = self._source[:, rows]
            locked = part.pin_memory() if self._image.device.type == "cuda" else part
            self._image[:, rows].copy_(locked, non_blocking=True)
            self._rows = row
        return self._image


class Download:
    """Results of a device that are written into arrays on the host."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[torch.cuda.Event, Tensor, np.ndarray]] = deque()

    def begin(self, values: Tensor, target: np.ndarray) -> None:
        """Write `values` into `target`, of the same shape, now or by the end of `finish`."""
        if values.device.type != "cuda":
            target[...] = values.cpu().numpy()
            return
        locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        locked.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(values.device))
        self._under_way.append((copied, locked, target))
        self._finish(_UNDER_WAY)

    def finish(self) -> None:
        """Wait for all that was begun."""
        self._finish(0)

    def _finish(self, left: int) -> None:
        while len(self._under_way) > left:
            copied, locked, target = self._under_way.popleft()
            copied.synchronize()
            target[...] = locked.numpy()
