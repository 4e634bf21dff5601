"""Segmentation nodes for tests: results of runs, and what a user draws into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from bundles import TINY_MODEL
from mednext.geometry import Geometry, Roi
from mednext.labels import Label
from mednext.segmentation import Segmentation
from MedNeXtSegmentationLib.scene.result_place import ResultPlace
from vtk.util.numpy_support import numpy_to_vtk

LABELS = TINY_MODEL.labels  # spleen 1, liver 2
SHAPE = (12, 14, 16)


def result(
    volume: Any,
    labelmap: np.ndarray,
    model: str = "tiny",
    labels: tuple[Label, ...] = LABELS,
    uncertainty: np.ndarray | None = None,
) -> Segmentation:
    """What the engine would return for a volume."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    geometry = Geometry.from_ijk_to_ras(
        slicer.util.arrayFromVTKMatrix(matrix), volume.GetImageData().GetDimensions()
    )
    return Segmentation(labelmap.astype(np.uint8), geometry, labels, {"model": model}, uncertainty)


def blocks(seed: int = 0, values: Sequence[int] = (1, 2), shape: Sequence[int] = SHAPE) -> np.ndarray:
    """A labelmap with some boxes of these values."""
    generator = np.random.default_rng(seed)
    labelmap = np.zeros(shape, dtype=np.uint8)
    for value in values:
        low = [generator.integers(0, n - 4) for n in shape]
        high = [a + generator.integers(2, 5) for a in low]
        labelmap[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
    return labelmap


def segment_into(node: Any, volume: Any, labelmap: np.ndarray, roi: Roi | None = None, **options: Any) -> Any:
    """Put a result into a node that is there; `options` are those of `result`."""
    return ResultPlace([volume], into=node, roi=roi).add(result(volume, labelmap, **options))


def new_segmentation(volume: Any, labelmap: np.ndarray, **options: Any) -> Any:
    """Put a result into a new node."""
    return ResultPlace([volume]).add(result(volume, labelmap, **options))


def voxels(node: Any, segment_id: str, volume: Any) -> np.ndarray:
    """A segment `(Z, Y, X)` on the grid of a volume, as Slicer would export it."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume).copy()


def by_name(node: Any, name: str) -> str:
    """The ID of the segment with this name."""
    return node.GetSegmentation().GetSegmentIdBySegmentName(name)


def draw(node: Any, name: str, mask: np.ndarray, volume: Any) -> str:
    """What the Segment Editor does: a new segment, which gets a place in a labelmap that others share."""
    segment_id = node.GetSegmentation().AddEmptySegment("", name)
    paint(node, segment_id, mask, volume)
    return segment_id


def paint(node: Any, segment_id: str, mask: np.ndarray, volume: Any) -> None:
    """The voxels of a segment, by the function that the Segment Editor's effects use."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*reversed(mask.shape))
    scalars = numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE)
