"""The segments of a Slicer node, with all corrections, as one labelmap on the grid of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import GeometryError, OutputError
from ...images.geometry import Box, Geometry
from ...model.labels import Label
from ...segmentation.result import Segmentation
from .label_placement import placed
from .segment_layers import SegmentLayer, with_values


@dataclass(frozen=True)
class DrawnRegion:
    """A region corrected by hand: its name, and the values of its labels."""

    name: str
    labels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class DrawnSegments:
    """The input of the labelmap, copied from the scene.

    `geometry` is the image's grid, and `to_image`, 4x4, leads from the segmentation's own space to its
    indices (i, j, k). `values` has the label value of each segment, by segment ID; `regions` the corrected
    regions, by segment ID. Other segments of `layers` are ignored.
    """

    geometry: Geometry
    labels: tuple[Label, ...]
    provenance: Mapping[str, str]
    to_image: np.ndarray
    values: Mapping[str, int]
    layers: Sequence[SegmentLayer]
    regions: Mapping[str, DrawnRegion] = field(default_factory=dict)

    def segmentation(self) -> Segmentation:
        """All segments in one labelmap, with regions as their labels.

        Raises `OutputError` when two segments overlap, or a corrected region differs from its labels
        together, `GeometryError` when a segment reaches beyond the image.
        """
        labelmap = np.zeros(self.geometry.shape, dtype=np.uint8 if self._largest < 256 else np.uint16)
        for layer in self.layers:
            self._add(layer, labelmap)
        for layer in self.layers:
            self._check_regions(layer, labelmap)
        return Segmentation(labelmap, self.geometry, self.labels, self.provenance)

    @property
    def _largest(self) -> int:
        return max(label.value for label in self.labels)

    def _add(self, layer: SegmentLayer, labelmap: np.ndarray) -> None:
        new = {value: self.values[each] for each, value in layer.values.items() if each in self.values}
        voxels, found, inside = self._in_image(layer, new, labelmap)
        self._refuse_loss(voxels, found)
        target = labelmap[inside]
        self._refuse_overlap(target, found)
        np.copyto(target, found, where=found != 0)

    def _in_image(
        self, layer: SegmentLayer, values: Mapping[int, int], labelmap: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Box]:
        """The voxels of a layer with new values, the part of them in the image, and the box of that part."""
        drawn = with_values(layer.voxels, values, labelmap.dtype)
        box, voxels = placed(drawn, self.to_image @ layer.ijk_to_ras)
        z, y, x = (
            slice(max(0, axis.start), min(n, axis.stop)) for axis, n in zip(box, labelmap.shape, strict=True)
        )
        cut = [
            slice(part.start - axis.start, max(part.stop, part.start) - axis.start)
            for part, axis in zip((z, y, x), box, strict=True)
        ]
        return voxels, voxels[tuple(cut)], (z, y, x)

    def _check_regions(self, layer: SegmentLayer, labelmap: np.ndarray) -> None:
        corrected = {each: value for each, value in layer.values.items() if each in self.regions}
        for segment_id, value in corrected.items():
            region = self.regions[segment_id]
            voxels, found, inside = self._in_image(layer, {value: 1}, labelmap)
            together = np.isin(labelmap, region.labels)
            same = np.count_nonzero(together[inside] & (found != 0))
            different = np.count_nonzero(together) + np.count_nonzero(voxels) - 2 * same
            if different:
                raise OutputError(
                    f'"{region.name}" was corrected, and differs in {different} voxels from '
                    f"{self._names(region.labels)} together, and only these can be exported: correct them, "
                    f'and remove the segment "{region.name}".'
                )

    def _refuse_loss(self, voxels: np.ndarray, inside: np.ndarray) -> None:
        lost = np.count_nonzero(voxels) - np.count_nonzero(inside)
        if lost:
            everywhere, kept = (
                np.bincount(part.ravel(), minlength=self._largest + 1) for part in (voxels, inside)
            )
            names = self._names(np.flatnonzero(everywhere > kept).tolist())
            raise GeometryError(
                f"{names} reach beyond the image by {lost} voxels: erase these, or export .seg.nrrd."
            )

    def _refuse_overlap(self, target: np.ndarray, found: np.ndarray) -> None:
        both = (target != 0) & (found != 0)
        count = np.count_nonzero(both)
        if count:
            names = self._names([*np.unique(target[both]), *np.unique(found[both])])
            raise OutputError(
                f"{names} overlap in {count} voxels, and a labelmap has one label per voxel: erase the "
                "overlap, or export .seg.nrrd."
            )

    def _names(self, values: Sequence[int]) -> str:
        named = [f'"{label.name}"' for label in self.labels if label.value in values]
        return ", ".join(named)
