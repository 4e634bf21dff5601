"""The labelmap that a run has found, packed: kept to tell later what was corrected by hand."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

_QUICK = 1  # zlib's level; labelmaps shrink to some percent anyhow


@dataclass(frozen=True)
class FoundLabels:
    """A labelmap `(Z, Y, X)` on the grid of the image, packed."""

    shape: tuple[int, ...]
    type: str
    packed: bytes

    @classmethod
    def of(cls, labelmap: np.ndarray) -> FoundLabels:
        """Pack a labelmap; a second or so for a large one."""
        return cls(labelmap.shape, labelmap.dtype.str, zlib.compress(np.ascontiguousarray(labelmap), _QUICK))

    def labelmap(self) -> np.ndarray:
        """The labelmap as it was."""
        return np.frombuffer(zlib.decompress(self.packed), np.dtype(self.type)).reshape(self.shape)

    def same_as(self, labelmap: np.ndarray) -> bool:
        """Whether a labelmap has the same voxels."""
        return self.shape == labelmap.shape and np.array_equal(self.labelmap(), labelmap)
