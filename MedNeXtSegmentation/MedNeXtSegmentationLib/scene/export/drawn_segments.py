"""A copy of a node's segments, with label values, for export and training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import slicer
from mednext.errors import OutputError
from mednext.images.geometry import Geometry
from mednext.model.labels import MAX_LABEL, Label, Terminology
from mednext.worker.scene.drawn_segments import DrawnRegion, DrawnSegments

from ..matrices import ijk_to_ras_of
from ..result_record import provenance_of
from ..segments.corrected_segments import fingerprints_of, is_untouched
from ..segments.model_segments import is_a_copy, label_value_of, model_of, structures_of_models
from ..segments.segmentation_grid import segmentation_to_volume
from ..segments.shared_labelmaps import copied_layers, has_labelmaps


def drawn_segments_of(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, known: Sequence[Label] = ()
) -> DrawnSegments:
    """Copy the segments of a node, for the grid of an image.

    `known` are the labels of the model. A segment drawn by the user gets the value of the label of the same
    name, unless a segment of the model has that value.

    Raises `GeometryError` for a non-linear transform between segmentation and image or a sheared grid,
    `OutputError` for a segmentation without segments or labelmaps.
    """
    refuse_without_labelmaps(node)
    segmentation = node.GetSegmentation()
    regions = _regions_with_labels(segmentation)
    values = _label_values(node, known, regions)
    to_image = np.linalg.inv(ijk_to_ras_of(volume)) @ segmentation_to_volume(node, volume)
    labels = [_label(segmentation.GetSegment(each), value) for each, value in values.items()]
    labels.sort(key=lambda label: label.value)
    size = volume.GetImageData().GetDimensions()
    geometry = Geometry.from_ijk_to_ras(ijk_to_ras_of(volume), size)
    return DrawnSegments(
        geometry,
        tuple(labels),
        provenance_of(node),
        to_image,
        values,
        copied_layers(segmentation),
        _corrected(segmentation, regions),
    )


def refuse_without_labelmaps(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Raise `OutputError` for a segmentation without segments, or with surfaces or contours only."""
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0 or not has_labelmaps(segmentation):
        raise OutputError(f'"{node.GetName()}" has no segments that are labelmaps.')


def _regions_with_labels(segmentation: slicer.vtkSegmentation) -> dict[str, tuple[int, ...]]:
    """Segment IDs and label values of the regions whose labels all have a segment.

    A region without its labels counts as a segment drawn by the user.
    """
    return {
        each: structure
        for ours in structures_of_models(segmentation)
        for structure, each in ours.items()
        if isinstance(structure, tuple) and set(structure) <= set(ours)
    }


def _corrected(
    segmentation: slicer.vtkSegmentation, regions: Mapping[str, tuple[int, ...]]
) -> dict[str, DrawnRegion]:
    return {
        each: DrawnRegion(segmentation.GetSegment(each).GetName(), regions[each])
        for each, mark in fingerprints_of(segmentation, regions).items()
        if not is_untouched(segmentation, each, mark)
    }


def _label_values(
    node: slicer.vtkMRMLSegmentationNode, known: Sequence[Label], regions: Collection[str]
) -> dict[str, int]:
    """A value for each segment but regions: the model's value for its own segments, free ones for others."""
    segmentation = node.GetSegmentation()
    model = provenance_of(node).get("model", "")
    values: dict[str, int] = {}
    segment_ids = [each for each in segmentation.GetSegmentIDs() if each not in regions]
    for segment_id in segment_ids:
        segment = segmentation.GetSegment(segment_id)
        value = label_value_of(segment)
        if value is not None and model_of(segment) == model and not is_a_copy(segment, segment_id):
            values[segment_id] = value
    named = {label.name: label.value for label in known if label.value not in values.values()}
    taken = {*values.values(), *(label.value for label in known)}
    for segment_id in segment_ids:
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
