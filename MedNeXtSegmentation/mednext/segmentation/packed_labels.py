"""The labelmap of a run, compressed: kept to find later corrections by hand."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

_QUICK = 1  # zlib's level; labelmaps shrink to a few percent even so


@dataclass(frozen=True)
class FoundLabels:
    """A labelmap `(Z, Y, X)` on the grid of the image, compressed."""

    shape: tuple[int, ...]
    type: str
    packed: bytes

    @classmethod
    def of(cls, labelmap: np.ndarray) -> FoundLabels:
        """Compress a labelmap, in about a second if it is large."""
        return cls(labelmap.shape, labelmap.dtype.str, zlib.compress(np.ascontiguousarray(labelmap), _QUICK))

    def labelmap(self) -> np.ndarray:
        """The uncompressed labelmap."""
        return np.frombuffer(zlib.decompress(self.packed), np.dtype(self.type)).reshape(self.shape)

    def same_as(self, labelmap: np.ndarray) -> bool:
        """Whether a labelmap has the same voxels."""
        return self.shape == labelmap.shape and np.array_equal(self.labelmap(), labelmap)
