"""The segments of a node as they are now, with all corrections, as one labelmap on the grid of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from mednext.errors import GeometryError, OutputError
from mednext.geometry import Geometry
from mednext.labels import MAX_LABEL, Label, Terminology
from mednext.segmentation import Segmentation
from vtk.util.numpy_support import vtk_to_numpy

from .our_segments import is_a_copy, label_value_of, model_of
from .provenance import provenance_of
from .result_grid import ResultGrid, ijk_to_ras_of, segmentation_to_volume
from .segment_layers import copied_layers, has_labelmaps, with_values


@dataclass(frozen=True, eq=False)
class DrawnSegments:
    """A copy of everything that is needed, so that any thread can go on with it.

    Raises from `take`: `GeometryError` for a non-linear transform between segmentation and image or a sheared
    grid, `OutputError` for a segmentation without segments or labelmaps.
    """

    geometry: Geometry
    labels: tuple[Label, ...]
    provenance: dict[str, str]
    _layers: Sequence[_Layer]

    @classmethod
    def take(
        cls,
        node: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        known: Sequence[Label] = (),
    ) -> DrawnSegments:
        """Copy the segments of a node. `known` are the labels of the model: a segment that the user drew has
        the value of the label with its name, unless a segment of the model has it."""
        refuse_without_labelmaps(node)
        segmentation = node.GetSegmentation()
        values = _label_values(node, known)
        to_volume = np.linalg.inv(ijk_to_ras_of(volume)) @ segmentation_to_volume(node, volume)
        layers = [
            _Layer(
                copy.voxels,
                to_volume @ copy.ijk_to_ras,
                {local: values[segment_id] for segment_id, local in copy.values.items()},
            )
            for copy in copied_layers(segmentation)
        ]
        labels = [_label(segmentation.GetSegment(each), value) for each, value in values.items()]
        labels.sort(key=lambda label: label.value)
        size = volume.GetImageData().GetDimensions()
        geometry = Geometry.from_ijk_to_ras(ijk_to_ras_of(volume), size)
        return cls(geometry, tuple(labels), provenance_of(node), layers)

    def segmentation(self) -> Segmentation:
        """All segments in one labelmap; in any thread.

        Raises `OutputError` when two of them overlap, `GeometryError` when one reaches beyond the image.
        """
        labelmap = np.zeros(self.geometry.shape, dtype=np.uint8 if self._largest < 256 else np.uint16)
        for layer in self._layers:
            self._add(layer, labelmap)
        return Segmentation(labelmap, self.geometry, self.labels, self.provenance)

    @property
    def _largest(self) -> int:
        return max(label.value for label in self.labels)

    def _add(self, layer: _Layer, labelmap: np.ndarray) -> None:
        drawn = with_values(layer.voxels, layer.values, labelmap.dtype)
        placed = ResultGrid(np.eye(4), layer.to_volume).place(drawn)
        voxels = vtk_to_numpy(placed.scalars).reshape([axis.stop - axis.start for axis in placed.box])
        inside = [
            slice(max(0, axis.start), min(n, axis.stop))
            for axis, n in zip(placed.box, labelmap.shape, strict=True)
        ]
        cut = [
            slice(part.start - axis.start, max(part.stop, part.start) - axis.start)
            for part, axis in zip(inside, placed.box, strict=True)
        ]
        found = voxels[tuple(cut)]
        self._refuse_loss(voxels, found)
        target = labelmap[tuple(inside)]
        self._refuse_overlap(target, found)
        np.copyto(target, found, where=found != 0)

    def _refuse_loss(self, voxels: np.ndarray, inside: np.ndarray) -> None:
        lost = np.count_nonzero(voxels) - np.count_nonzero(inside)
        if lost:
            everywhere, kept = (
                np.bincount(part.ravel(), minlength=self._largest + 1) for part in (voxels, inside)
            )
            names = self._names(np.flatnonzero(everywhere > kept))
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


def refuse_without_labelmaps(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Raise `OutputError` for a segmentation without segments, or whose segments are no labelmaps."""
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0 or not has_labelmaps(segmentation):
        raise OutputError(f'"{node.GetName()}" has no segments that are labelmaps.')


@dataclass(frozen=True, eq=False)
class _Layer:
    """Voxels `(Z, Y, X)`, the matrix from their indices to the image's, and what their values mean."""

    voxels: np.ndarray
    to_volume: np.ndarray
    values: dict[int, int]


def _label_values(node: slicer.vtkMRMLSegmentationNode, known: Sequence[Label]) -> dict[str, int]:
    """A value for each segment: the model's own for what it made, free ones above them for all others."""
    segmentation = node.GetSegmentation()
    model = provenance_of(node).get("model", "")
    values: dict[str, int] = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        value = label_value_of(segment)
        if value is not None and model_of(segment) == model and not is_a_copy(segment, segment_id):
            values[segment_id] = value
    named = {label.name: label.value for label in known if label.value not in values.values()}
    taken = {*values.values(), *(label.value for label in known)}
    for segment_id in segmentation.GetSegmentIDs():
        if segment_id in values:
            continue
        value = named.pop(segmentation.GetSegment(segment_id).GetName(), None)
        if value is None:
            value = max(taken, default=0) + 1
        values[segment_id] = value
        taken.add(value)
    if max(taken, default=0) > MAX_LABEL:
        raise OutputError(f'"{node.GetName()}" has more segments than a labelmap has values.')
    return values


def _label(segment: slicer.vtkSegment, value: int) -> Label:
    red, green, blue = (round(255 * channel) for channel in segment.GetColor())
    return Label(
        value, segment.GetName(), (red, green, blue), Terminology.of_entry(segment.GetTerminology() or "")
    )
