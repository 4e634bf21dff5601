"""A segmentation as Slicer's own file, `.seg.nrrd`, written by a thread: Slicer's writer blocks the windows.

What the header says of the segments is written by Slicer, for copies with a single voxel. Only where their
voxels lie is ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import slicer
import vtk
from mednext.errors import OutputError
from mednext.geometry import Geometry
from vtk.util.numpy_support import vtk_to_numpy

from .drawn_segments import refuse_without_labelmaps
from .label_voxels import LabelVoxels
from .result_grid import ResultGrid
from .segment_layers import LABELMAP, CopiedLayer, copied_layers, with_values, without_voxels

_NOWHERE = "0 -1 0 -1 0 -1"  # the extent of a segment without voxels


@dataclass(frozen=True, eq=False)
class SegmentationFile:
    """A copy of everything that goes into the file, so that any thread can write it.

    `take` raises `OutputError` for a segmentation without segments or labelmaps, and when Slicer cannot write
    a header, `GeometryError` for a sheared grid.
    """

    geometry: Geometry
    _layers: Sequence[CopiedLayer]
    _header: bytes
    _segment_ids: Sequence[str]
    _words_of_all: Mapping[str, str]

    @classmethod
    def take(cls, node: slicer.vtkMRMLSegmentationNode) -> SegmentationFile:
        """Copy the segments of a node, in the node's own space."""
        refuse_without_labelmaps(node)
        segmentation = node.GetSegmentation()
        ijk_to_ras, extent = _common_grid(segmentation)
        first = extent[::2]
        ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ first
        size = tuple(last - begin + 1 for begin, last in zip(first, extent[1::2], strict=True))
        names: list[str] = []
        segmentation.GetContainedRepresentationNames(names)
        return cls(
            Geometry.from_ijk_to_ras(ijk_to_ras, size),
            copied_layers(segmentation),
            _header_by_slicer(segmentation),
            list(segmentation.GetSegmentIDs()),
            {
                "Segmentation_ConversionParameters": segmentation.SerializeAllConversionParameters(),
                "Segmentation_ContainedRepresentationNames": "".join(f"{name}|" for name in names),
                "Segmentation_ReferenceImageExtentOffset": " ".join(map(str, first)),
            },
        )

    def write(self, path: Path) -> list[Path]:
        """Write the file, in any thread. Raises `OutputError` or `DiskSpaceError`; nothing is left then."""
        from mednext.formats.seg_nrrd import write_layers

        merged: list[_Merged] = []
        where: dict[str, dict[str, str]] = {}
        for layer in self._layers:
            placed = self._place(layer)
            number = next((n for n, each in enumerate(merged) if each.has_room(placed)), len(merged))
            if number == len(merged):
                merged.append(_Merged(np.zeros(self.geometry.shape, np.uint8)))
            values = merged[number].add(placed, layer.values)
            extent = " ".join(f"{axis.start} {axis.stop - 1}" for axis in reversed(placed.box))
            for segment_id, value in values.items():
                where[segment_id] = {"Layer": str(number), "Extent": extent, "LabelValue": str(value)}
        layers = merged or [_Merged(np.zeros(self.geometry.shape, np.uint8))]
        widest = max((layer.voxels.dtype for layer in layers), key=lambda kind: kind.itemsize)
        voxels = [layer.voxels.astype(widest, copy=False) for layer in layers]
        write_layers(path, voxels, self.geometry, self._words(where))
        return [path]

    def _place(self, layer: CopiedLayer) -> LabelVoxels:
        """What a layer holds of its segments, on the grid of the file."""
        kept = with_values(layer.voxels, {each: each for each in layer.values.values()}, layer.voxels.dtype)
        to_file = np.linalg.inv(self.geometry.ijk_to_ras) @ layer.ijk_to_ras
        return ResultGrid(np.eye(4), to_file).place(kept)

    def _words(self, where: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The header by Slicer, with the places of these voxels instead of the single ones."""
        from mednext.formats.seg_nrrd import segment_words

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "header.seg.nrrd")
            file.write_bytes(self._header)
            words = segment_words(file)
        words.update(self._words_of_all)
        for number, segment_id in enumerate(self._segment_ids):
            place = where.get(segment_id, {"Layer": "0", "Extent": _NOWHERE})
            words.update({f"Segment{number}_{word}": value for word, value in place.items()})
        return words


@dataclass(eq=False)
class _Merged:
    """Layers that do not overlap, in one labelmap `(Z, Y, X)`, and the label values in it."""

    voxels: np.ndarray
    taken: set[int] = field(default_factory=set)

    def has_room(self, placed: LabelVoxels) -> bool:
        """Whether nothing is where these voxels are."""
        return not ((self.voxels[placed.box] != 0) & (_array(placed) != 0)).any()

    def add(self, placed: LabelVoxels, values: Mapping[str, int]) -> dict[str, int]:
        """Put voxels in. Segments keep their label values where these are free and above 0; returns what they
        have."""
        free = max([0, *self.taken, *values.values()]) + 1
        new = {}
        for segment_id, value in values.items():
            new[segment_id] = value
            if value in self.taken or value <= 0:
                new[segment_id], free = free, free + 1
        self.taken.update(new.values())
        self._widen(max(self.taken))
        found = _array(placed)
        renumbered = {values[segment_id]: value for segment_id, value in new.items()}
        np.copyto(
            self.voxels[placed.box], with_values(found, renumbered, self.voxels.dtype), where=found != 0
        )
        return new

    def _widen(self, largest: int) -> None:
        kind = np.promote_types(self.voxels.dtype, np.min_scalar_type(largest))
        self.voxels = self.voxels.astype(kind, copy=False)


def _array(placed: LabelVoxels) -> np.ndarray:
    return vtk_to_numpy(placed.scalars).reshape([axis.stop - axis.start for axis in placed.box])


def _common_grid(segmentation: slicer.vtkSegmentation) -> tuple[np.ndarray, list[int]]:
    """IJK to RAS matrix and extent of a grid that holds all segments and the reference geometry, if any."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    modes = [slicer.vtkSegmentation.EXTENT_UNION_OF_SEGMENTS]
    if segmentation.GetConversionParameter(name):
        modes.append(slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
    images, every = [], vtk.vtkStringArray()
    for mode in modes:
        text, image = segmentation.DetermineCommonLabelmapGeometry(mode, every), slicer.vtkOrientedImageData()
        if text and slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
            images.append(image)
    if not images:  # all segments are empty: Slicer writes a single voxel
        return np.eye(4), [0] * 6
    matrix = vtk.vtkMatrix4x4()
    images[0].GetImageToWorldMatrix(matrix)
    sides = zip(*(image.GetExtent() for image in images), strict=True)
    extent = [max(ends) if side % 2 else min(ends) for side, ends in enumerate(sides)]
    return slicer.util.arrayFromVTKMatrix(matrix), extent


def _header_by_slicer(segmentation: slicer.vtkSegmentation) -> bytes:
    """A file that Slicer writes for the same segments, with a single voxel in the place of theirs.

    Without the reference geometry, of which Slicer would write every voxel.
    """
    voxel = slicer.vtkOrientedImageData()
    voxel.SetDimensions(1, 1, 1)
    voxel.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    copies = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = without_voxels(segmentation.GetSegment(segment_id))
        segment.AddRepresentation(LABELMAP, voxel)
        copies.AddSegment(segment, segment_id)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "header.seg.nrrd")
        storage.SetFileName(str(file))
        if not storage.WriteData(node):
            raise OutputError("Slicer could not write the segmentation: see its error log.")
        return file.read_bytes()
