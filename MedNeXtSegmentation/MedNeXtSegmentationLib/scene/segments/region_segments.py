"""Region segments: they lie over the segments of their labels, and follow corrections of these.

Users correct, export and train on the labels. A region is the union of its labels.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from mednext.model.labels import Region
from mednext.segmentation.result import Described
from mednext.worker.scene.segment_layers import with_values

from .combined_voxels import placed_segment, united
from .corrected_segments import fingerprint_of, fingerprints_of, is_untouched
from .label_voxels import LabelVoxels, copy_for_vtk
from .model_segments import marks_of, set_marks, structures_of_models
from .segment_history import exchange_segments
from .segmentation_grid import SegmentationGrid
from .shared_labelmaps import LABELMAP, layers_of, without_voxels

_OPACITY_3D = 0.3  # the labels inside stay visible


def own_regions(segmentation: Described) -> list[tuple[tuple[int, ...], Region]]:
    """The regions that get a segment, each with its labels in the result.

    A region of a single label with the same name needs no segment of its own.
    """
    names = {label.value: label.name for label in segmentation.labels}
    regions = [
        (tuple(value for value in region.labels if value in names), region) for region in segmentation.regions
    ]
    return [
        (labels, region) for labels, region in regions if [names[each] for each in labels] != [region.name]
    ]


def follow_labels(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Rebuild the regions of a node whose labels were corrected.

    A region stays as it is if it was corrected itself, or if one of its labels is missing.
    """
    segmentation = node.GetSegmentation()
    for ours in structures_of_models(segmentation):
        regions = {each: structure for structure, each in ours.items() if isinstance(structure, tuple)}
        now = fingerprints_of(segmentation, regions) if regions else {}
        changed = {}
        for segment_id, labels in regions.items():
            if is_untouched(segmentation, segment_id, now[segment_id]) and set(labels) <= set(ours):
                new = _union(segmentation, segment_id, [ours[value] for value in labels])
                if new is not None and marks_of(new)[1] != now[segment_id]:
                    changed[segment_id] = new
        if changed:
            exchange_segments(node, changed)


def regions_of(segmentation: slicer.vtkSegmentation) -> list[str]:
    """The IDs of all segments that are regions."""
    found = (ours.items() for ours in structures_of_models(segmentation))
    return [each for items in found for structure, each in items if isinstance(structure, tuple)]


def show_as_outlines(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Show regions as outlines in slices and transparent in 3D: their labels lie inside."""
    display = node.GetDisplayNode()
    for segment_id in regions_of(node.GetSegmentation()) if display else ():
        display.SetSegmentVisibility2DFill(segment_id, False)
        display.SetSegmentOpacity3D(segment_id, _OPACITY_3D)


def shown_regions(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """The IDs of the regions that the views show."""
    display = node.GetDisplayNode()
    regions = regions_of(node.GetSegmentation()) if display else []
    return [segment_id for segment_id in regions if display.GetSegmentVisibility(segment_id)]


def show_segments(node: slicer.vtkMRMLSegmentationNode, segment_ids: list[str], on: bool) -> None:
    """Show or hide these segments, except removed ones."""
    display = node.GetDisplayNode()
    for segment_id in segment_ids if display else []:
        if node.GetSegmentation().GetSegment(segment_id):
            display.SetSegmentVisibility(segment_id, on)


def region_voxels(voxels: LabelVoxels, labels: tuple[int, ...]) -> LabelVoxels:
    """A region, with the value 1, of a labelmap with its labels."""
    mask = with_values(voxels.array, dict.fromkeys(labels, 1), np.dtype(np.uint8))
    return LabelVoxels(voxels.box, copy_for_vtk(mask))


def _nothing() -> LabelVoxels:
    """A voxel of background."""
    k, j, i = (slice(0, 1) for _ in range(3))
    return LabelVoxels((k, j, i), copy_for_vtk(np.zeros((1, 1, 1), np.uint8)))


def _union(
    segmentation: slicer.vtkSegmentation, segment_id: str, label_ids: list[str]
) -> slicer.vtkSegment | None:
    """The segment of a region with the present voxels of its labels; None if none of them has any."""
    old = segmentation.GetSegment(segment_id)
    drawn = [image for image, each in layers_of(segmentation).items() if {*each} & {*label_ids, segment_id}]
    if not drawn:
        return None
    matrix = vtk.vtkMatrix4x4()
    drawn[-1].GetImageToWorldMatrix(matrix)
    grid = SegmentationGrid.of_matrix(matrix)
    parts = [placed_segment(segmentation.GetSegment(each), grid) for each in label_ids]
    voxels = united([(part, 1) for part in parts if part is not None] or [(_nothing(), 1)])
    new = without_voxels(old)
    new.AddRepresentation(LABELMAP, voxels.image(matrix))
    new.SetLabelValue(1)
    set_marks(new, (marks_of(old)[0], fingerprint_of(voxels, 1)))
    return new
