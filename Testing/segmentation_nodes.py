"""Segmentation nodes for tests: results of runs, and what a user draws into them."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from bundles import TINY_MODEL
from mednext.geometry import Geometry, Roi
from mednext.hand_over import HandedOver
from mednext.labels import Label, Region
from mednext.scene_jobs import SceneJob, carry_out
from mednext.segmentation import Segmentation
from MedNeXtSegmentationLib.scene.result_grid import grid_of_volume
from MedNeXtSegmentationLib.scene.result_place import ResultPlace
from MedNeXtSegmentationLib.scene.segmentation_node import add_segmentation_node
from vtk.util.numpy_support import numpy_to_vtk

LABELS = TINY_MODEL.labels  # spleen 1, liver 2
SHAPE = (12, 14, 16)


def result(
    volume: Any,
    labelmap: np.ndarray,
    model: str = "tiny",
    labels: tuple[Label, ...] = LABELS,
    uncertainty: np.ndarray | None = None,
    regions: tuple[Region, ...] = (),
) -> Segmentation:
    """What the engine would return for a volume."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    geometry = Geometry.from_ijk_to_ras(
        slicer.util.arrayFromVTKMatrix(matrix), volume.GetImageData().GetDimensions()
    )
    found = Segmentation(labelmap.astype(np.uint8), geometry, labels, {"model": model}, uncertainty, regions)
    return found.telling_regions()


def blocks(seed: int = 0, values: Sequence[int] = (1, 2), shape: Sequence[int] = SHAPE) -> np.ndarray:
    """A labelmap with some boxes of these values."""
    generator = np.random.default_rng(seed)
    labelmap = np.zeros(shape, dtype=np.uint8)
    for value in values:
        low = [generator.integers(0, n - 4) for n in shape]
        high = [a + generator.integers(2, 5) for a in low]
        labelmap[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
    return labelmap


def segment_into(
    node: Any,
    volume: Any,
    labelmap: np.ndarray,
    roi: Roi | None = None,
    replace_corrected: bool = False,
    **options: Any,
) -> Any:
    """Put a result into a node that is there; `options` are those of `result`."""
    place = ResultPlace([volume], into=node, roi=roi, replace_corrected=replace_corrected)
    return put(place, result(volume, labelmap, **options))


def new_segmentation(volume: Any, labelmap: np.ndarray, **options: Any) -> Any:
    """Put a result into a new node."""
    return put(ResultPlace([volume]), result(volume, labelmap, **options))


def put(place: ResultPlace, segmentation: Segmentation) -> Any:
    """Put a result into the scene, made as the worker makes it; the segmentation node."""
    return place.add(drained(place.copying(HandedOver.of(segmentation, place.wishes))))


def add_alone(volume: Any, segmentation: Segmentation, name: str) -> Any:
    """A new segmentation node that knows nothing but its segments."""
    return add_segmentation_node(
        volume, segmentation, name, grid_of_volume(volume).place(segmentation.labelmap)
    )


def drained(steps: Generator[Any, Any, Any]) -> Any:
    """Take a generator to its end; returns its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


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


def carried_out(job: SceneJob) -> dict[str, Any]:
    """Do a job as a process of the engine does it."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in job.writing(Path(folder)):
            pass
        return carry_out(Path(folder))
