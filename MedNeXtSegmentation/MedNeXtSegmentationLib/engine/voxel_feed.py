"""Voxels on their way from the scene to a run: copied by the main thread, read by the run's."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator

import numpy as np
from mednext.errors import InputError

WAIT_S = 0.05


class VoxelFeed:
    """An array `(Z, Y, X)` that is read once, plane by plane, while the main thread provides the planes.

    A run's thread must not read a volume's own memory: a reference to VTK's array does not keep its memory
    where it is when a script resizes that array, and reading it then ends Slicer. Copying at once holds up
    the windows, so the main thread copies a few planes whenever it looks after the run.

    Args:
        read: gives a copy of one plane; raises `InputError` when the voxels are not those of the beginning.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: np.dtype, read: Callable[[int], np.ndarray]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._read = read
        self._next = 0
        self._planes: queue.SimpleQueue[np.ndarray | InputError] = queue.SimpleQueue()
        self._check: Callable[[], None] = lambda: None

    def copy(self, until: float) -> bool:
        """Copy planes until that moment of `time.monotonic`; whether all are copied. For the main thread."""
        while self._next < self.shape[0] and time.monotonic() < until:
            try:
                self._planes.put(self._read(self._next))
            except InputError as error:
                return self._fail(error)
            except Exception as error:  # noqa: BLE001  # boundary: the reader would wait for ever
                return self._fail(InputError(f"The voxels of the image could not be copied: {error!r}."))
            self._next += 1
        return self._next == self.shape[0]

    def _fail(self, error: InputError) -> bool:
        self._planes.put(error)
        self._next = self.shape[0]
        return True

    def check_with(self, check: Callable[[], None]) -> None:
        """While the reader waits for planes it calls this, which raises when there is nothing to wait for."""
        self._check = check

    def __iter__(self) -> Iterator[np.ndarray]:
        """The planes `(Y, X)`; waits for those that are not copied yet. For the run's thread."""
        for _ in range(self.shape[0]):
            yield self._wait_for_plane()

    def _wait_for_plane(self) -> np.ndarray:
        while True:
            self._check()
            try:
                plane = self._planes.get(timeout=WAIT_S)
            except queue.Empty:
                continue
            if isinstance(plane, InputError):
                raise plane
            return plane
