"""What a run has found, kept for as long as this session lasts, to tell later what was corrected by hand."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import slicer

_QUICK = 1  # zlib's level; labelmaps shrink to some percent anyhow


@dataclass(frozen=True)
class FoundLabels:
    """A labelmap `(Z, Y, X)` on the grid of the image, packed."""

    shape: tuple[int, ...]
    type: str
    packed: bytes

    @classmethod
    def of(cls, labelmap: np.ndarray) -> FoundLabels:
        """Pack a labelmap; a second or so for a large one, in any thread."""
        return cls(labelmap.shape, labelmap.dtype.str, zlib.compress(np.ascontiguousarray(labelmap), _QUICK))

    def labelmap(self) -> np.ndarray:
        """The labelmap as it was."""
        return np.frombuffer(zlib.decompress(self.packed), np.dtype(self.type)).reshape(self.shape)

    def same_as(self, labelmap: np.ndarray) -> bool:
        """Whether a labelmap has the same voxels."""
        return self.shape == labelmap.shape and np.array_equal(self.labelmap(), labelmap)


_found: dict[str, tuple[slicer.vtkSegmentation, FoundLabels]] = {}  # by node ID


def keep_found(node: slicer.vtkMRMLSegmentationNode, found: FoundLabels | None) -> None:
    """Remember what the last run into a node has found; None for nothing known."""
    _found.pop(node.GetID(), None)
    if found:
        _found[node.GetID()] = (node.GetSegmentation(), found)


def found_of(node: slicer.vtkMRMLSegmentationNode) -> FoundLabels | None:
    """What the last run into a node has found; None when the scene was loaded or the node was copied."""
    segmentation, found = _found.get(node.GetID(), (None, None))
    return found if segmentation is node.GetSegmentation() else None


def forget_found() -> None:
    """Drop what is known of all nodes: their scene is gone."""
    _found.clear()
