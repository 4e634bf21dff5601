"""Write a segmentation of Slicer as `.seg.nrrd`: Slicer's own writer would freeze the windows.

Slicer writes the header, for copies of the segments with a single voxel. Only the places of the voxels are
ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...images.geometry import Box, Geometry
from .label_placement import placed
from .segment_layers import SegmentLayer, with_values

_NOWHERE = "0 -1 0 -1 0 -1"  # the extent of a segment without voxels


@dataclass(frozen=True, eq=False)
class SegmentationFile:
    """The content of the file, copied from the scene.

    `words` are the header fields that Slicer writes of the same segments with a single voxel each,
    `words_of_all` those of the whole segmentation.
    """

    geometry: Geometry
    layers: Sequence[SegmentLayer]
    words: Mapping[str, str]
    segment_ids: Sequence[str]
    words_of_all: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write the file.

        Raises `OutputError` or `DiskSpaceError`; no file is left then.
        """
        from ...segmentation.formats.seg_nrrd import (
            write_layers,  # it imports SimpleITK, and Slicer loads this file when it starts
        )

        merged: list[_Merged] = []
        where: dict[str, dict[str, str]] = {}
        for layer in self.layers:
            box, voxels = self._place(layer)
            number = next((n for n, each in enumerate(merged) if each.has_room(box, voxels)), len(merged))
            if number == len(merged):
                merged.append(_Merged(np.zeros(self.geometry.shape, np.uint8)))
            values = merged[number].add(box, voxels, layer.values)
            extent = " ".join(f"{axis.start} {axis.stop - 1}" for axis in reversed(box))
            for segment_id, value in values.items():
                where[segment_id] = {"Layer": str(number), "Extent": extent, "LabelValue": str(value)}
        layers = merged or [_Merged(np.zeros(self.geometry.shape, np.uint8))]
        widest = max((layer.voxels.dtype for layer in layers), key=lambda kind: kind.itemsize)
        arrays = [layer.voxels.astype(widest, copy=False) for layer in layers]
        write_layers(path, arrays, self.geometry, self._header(where))

    def _place(self, layer: SegmentLayer) -> tuple[Box, np.ndarray]:
        """The voxels of a layer's segments on the grid of the file, and their box."""
        kept = with_values(layer.voxels, {each: each for each in layer.values.values()}, layer.voxels.dtype)
        return placed(kept, np.linalg.inv(self.geometry.ijk_to_ras) @ layer.ijk_to_ras)

    def _header(self, where: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Slicer's header, with the places of these voxels instead of the single ones."""
        words = {**self.words, **self.words_of_all}
        for number, segment_id in enumerate(self.segment_ids):
            place = where.get(segment_id, {"Layer": "0", "Extent": _NOWHERE})
            words.update({f"Segment{number}_{word}": value for word, value in place.items()})
        return words


@dataclass(eq=False)
class _Merged:
    """Layers that do not overlap, in one labelmap `(Z, Y, X)`, and the label values in it."""

    voxels: np.ndarray
    taken: set[int] = field(default_factory=set)

    def has_room(self, box: Box, found: np.ndarray) -> bool:
        """Whether the places of these voxels are free."""
        return not ((self.voxels[box] != 0) & (found != 0)).any()

    def add(self, box: Box, found: np.ndarray, values: Mapping[str, int]) -> dict[str, int]:
        """Add voxels. Segments keep their label values where these are free and above 0; return their
        values."""
        free = max([0, *self.taken, *values.values()]) + 1
        new = {}
        for segment_id, value in values.items():
            new[segment_id] = value
            if value in self.taken or value <= 0:
                new[segment_id], free = free, free + 1
        self.taken.update(new.values())
        self._widen(max(self.taken))
        renumbered = {values[segment_id]: value for segment_id, value in new.items()}
        np.copyto(self.voxels[box], with_values(found, renumbered, self.voxels.dtype), where=found != 0)
        return new

    def _widen(self, largest: int) -> None:
        kind = np.promote_types(self.voxels.dtype, np.min_scalar_type(largest))
        self.voxels = self.voxels.astype(kind, copy=False)
