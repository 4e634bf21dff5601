"""From the engine's result to the segments of a node: names, colours, codes, label values, place in space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import slicer
from mednext.images.geometry import Box
from mednext.model.labels import Label, Region
from mednext.segmentation.result import Described

from ..result_record import set_provenance
from ..segments.combined_voxels import placed_segment, with_kept_voxels, without
from ..segments.corrected_segments import changed_since, fingerprint_of, fingerprints_of, is_untouched
from ..segments.label_voxels import LabelVoxels
from ..segments.model_segments import Structure, model_structures, tag_as_model_segment
from ..segments.region_segments import follow_labels, own_regions, region_voxels, show_as_outlines
from ..segments.segment_history import put_segments
from ..segments.segmentation_grid import SegmentationGrid, grid_of_volume, set_reference
from ..segments.segmented_region import region_text
from ..segments.shared_labelmaps import LABELMAP


@dataclass(frozen=True, eq=False)
class _Part:
    """A label or a region of a result, in a labelmap in which it has a value."""

    structure: Structure
    look: Label | Region
    voxels: LabelVoxels
    value: int


def add_segmentation_node(
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: Described,
    name: str,
    voxels: LabelVoxels,
) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation node to the volume's scene, on its grid and under its parent transform.

    Each label gets a segment, even if the structure was not found. They share one labelmap with the model's
    label values; regions lie over them. `voxels` are on the volume's grid.
    """
    scene = volume.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    fill_segmentation_node(node, volume, segmentation, voxels)
    show_as_outlines(node)
    return node


def fill_segmentation_node(
    node: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: Described,
    voxels: LabelVoxels,
) -> None:
    """Put a result into an empty node, on the volume's grid; the node may be in no scene."""
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    set_provenance(node, segmentation.provenance)
    grid = grid_of_volume(volume)
    into = node.GetSegmentation()
    parts = _parts(into, segmentation, voxels)
    for segment_id, segment in _segments(into, segmentation, parts, grid).items():
        into.AddSegment(segment, segment_id)


def put_into_segmentation_node(
    node: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: Described,
    grid: SegmentationGrid,
    voxels: LabelVoxels,
    replaceable: Mapping[str, str],
    region: Box | None = None,
) -> list[str]:
    """Put a result into an existing node: the model's segments get new voxels, or are added.

    Segments of the user and of other models stay. So do the model's segments whose fingerprint differs from
    the one in `replaceable`: they were corrected, and no other segment gets their voxels. After a run limited
    to a `region` of the volume `(Z, Y, X)` all voxels outside of it stay. `segment_history.undo` restores the
    segments. Returns the names of the corrected segments.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    into = node.GetSegmentation()
    ids = _parts(into, segmentation, voxels)
    corrected = changed_since(into, replaceable, ids)
    labels = [into.GetSegment(each) for each in corrected if isinstance(ids[each].structure, int)]
    kept = [part for part in (placed_segment(label, grid) for label in labels) if part]
    if kept:
        voxels = without(voxels, kept)
        ids = _parts(into, segmentation, voxels)
    _rename_remainders(into, ids)
    parts = {segment_id: part for segment_id, part in ids.items() if segment_id not in corrected}
    set_reference(node, volume, voxels.image(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras)))
    added = [segment_id for segment_id in parts if into.GetSegment(segment_id) is None]
    put_segments(node, _segments(into, segmentation, parts, grid, region))
    if corrected or region is not None:  # otherwise the regions already equal the union of their labels
        follow_labels(node)
    set_provenance(node, segmentation.provenance)
    if added:
        show_as_outlines(node)
    return [into.GetSegment(segment_id).GetName() for segment_id in corrected]


def _rename_remainders(into: slicer.vtkSegmentation, ids: Mapping[str, _Part]) -> None:
    """Rename labels that the first versions named after their region."""
    regions = {part.look.name for part in ids.values() if isinstance(part.structure, tuple)}
    for segment_id, part in ids.items():
        segment = into.GetSegment(segment_id)
        if segment is not None and isinstance(part.structure, int) and segment.GetName() in regions:
            segment.SetName(part.look.name)


def _parts(into: slicer.vtkSegmentation, segmentation: Described, voxels: LabelVoxels) -> dict[str, _Part]:
    """Regions and labels by the ID of their segment in `into`, existing or new. Regions come first: in
    Slicer's export of overlapping segments to a labelmap later ones win."""
    model = segmentation.provenance.get("model", "")
    present = model_structures(into, model)
    parts = [
        *(
            _Part(labels, region, region_voxels(voxels, labels), 1)
            for labels, region in own_regions(segmentation)
        ),
        *(_Part(label.value, label, voxels, label.value) for label in segmentation.labels),
    ]
    return {present.get(part.structure) or _new_id(into, model, part.structure): part for part in parts}


def _new_id(into: slicer.vtkSegmentation, model: str, structure: Structure) -> str:
    values = structure if isinstance(structure, tuple) else (structure,)
    return into.GenerateUniqueSegmentID(f"{model}_{'_'.join(map(str, values))}")


def _segments(
    into: slicer.vtkSegmentation,
    segmentation: Described,
    parts: Mapping[str, _Part],
    grid: SegmentationGrid,
    region: Box | None = None,
) -> dict[str, slicer.vtkSegment]:
    """A segment for each part of a result. With a `region`, the voxels of `into` outside of it stay."""
    model, looked_in = segmentation.provenance.get("model", ""), region_text(segmentation)
    matrix = slicer.util.vtkMatrixFromArray(grid.ijk_to_ras)
    images = {id(part.voxels): part.voxels.image(matrix) for part in parts.values()}
    old = {segment_id: into.GetSegment(segment_id) for segment_id in parts}
    before = fingerprints_of(into, [each for each in parts if old[each]]) if region else {}
    segments: dict[str, slicer.vtkSegment] = {}
    for segment_id, part in parts.items():
        voxels, image, untouched = part.voxels, images[id(part.voxels)], True
        if region is not None and old[segment_id]:
            both = with_kept_voxels(old[segment_id], voxels, part.value, grid, region)
            if both:
                voxels, image = both, both.image(matrix)
                untouched = is_untouched(into, segment_id, before[segment_id])
        segments[segment_id] = _segment(part, image)
        mark = fingerprint_of(voxels, part.value) if untouched else ""
        tag_as_model_segment(segments[segment_id], segment_id, model, part.structure, looked_in, mark)
    return segments


def _segment(part: _Part, image: slicer.vtkOrientedImageData) -> slicer.vtkSegment:
    segment = slicer.vtkSegment()
    segment.SetName(part.look.name)
    segment.SetNameAutoGenerated(False)
    segment.SetColor(*(channel / 255 for channel in part.look.color))
    segment.SetColorAutoGenerated(False)
    segment.SetLabelValue(part.value)
    if part.look.terminology:
        segment.SetTerminology(part.look.terminology.entry())
    segment.AddRepresentation(LABELMAP, image)
    return segment
