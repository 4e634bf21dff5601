"""A copy of a node's segments for a `.seg.nrrd` file, Slicer's own format of segmentations."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk
from mednext.errors import OutputError
from mednext.images.geometry import Geometry
from mednext.worker.scene.segmentation_file import SegmentationFile

from ..matrices import image_to_ras_of
from ..segments.shared_labelmaps import LABELMAP, copied_layers, without_voxels
from .drawn_segments import refuse_without_labelmaps


def segmentation_file_of(node: slicer.vtkMRMLSegmentationNode) -> SegmentationFile:
    """Copy the segments of a node, in the node's own space.

    Raises `OutputError` for a segmentation without segments or labelmaps, and when Slicer cannot write a
    header, `GeometryError` for a sheared grid.
    """
    refuse_without_labelmaps(node)
    segmentation = node.GetSegmentation()
    ijk_to_ras, extent = _common_grid(segmentation)
    first = extent[::2]
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ first
    size = tuple(last - begin + 1 for begin, last in zip(first, extent[1::2], strict=True))
    names: list[str] = []
    segmentation.GetContainedRepresentationNames(names)
    return SegmentationFile(
        Geometry.from_ijk_to_ras(ijk_to_ras, size),
        copied_layers(segmentation),
        _words_by_slicer(segmentation),
        list(segmentation.GetSegmentIDs()),
        {
            "Segmentation_ConversionParameters": segmentation.SerializeAllConversionParameters(),
            "Segmentation_ContainedRepresentationNames": "".join(f"{name}|" for name in names),
            "Segmentation_ReferenceImageExtentOffset": " ".join(map(str, first)),
        },
    )


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
    if not images:  # for empty segments Slicer writes a single voxel
        return np.eye(4), [0] * 6
    sides = zip(*(image.GetExtent() for image in images), strict=True)
    extent = [max(ends) if side % 2 else min(ends) for side, ends in enumerate(sides)]
    return image_to_ras_of(images[0]), extent


def _words_by_slicer(segmentation: slicer.vtkSegmentation) -> dict[str, str]:
    """The header fields that Slicer writes for the same segments with a single voxel each.

    They have no reference geometry, since Slicer would write all voxels of it.
    """
    from mednext.segmentation.formats.seg_nrrd import segment_words  # not above: it loads SimpleITK

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
        return segment_words(file)
