"""Join the segmentations of the two hippocampi: the model segments images cropped around one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import slicer

LATERALITY_CODES = {"left": "7771000", "right": "24028007"}  # SNOMED CT


def join(
    head: slicer.vtkMRMLScalarVolumeNode, sides: Mapping[str, slicer.vtkMRMLSegmentationNode]
) -> slicer.vtkMRMLSegmentationNode:
    """Replace the segmentations of both sides by a single one on the head's grid."""
    scene = head.GetScene()
    joined = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{head.GetName()} hippocampi")
    joined.CreateDefaultDisplayNodes()
    joined.SetReferenceImageGeometryParameterFromVolumeNode(head)
    for side, node in sides.items():
        source = node.GetSegmentation()
        for segment_id in source.GetSegmentIDs():
            segment = slicer.vtkSegment()
            segment.DeepCopy(source.GetSegment(segment_id))
            segment.SetName(f"{side} {segment.GetName()}")
            segment.SetTerminology(_with_side(segment.GetTerminology(), side))
            joined.GetSegmentation().AddSegment(segment)
        for attribute in node.GetAttributeNames():
            joined.SetAttribute(attribute, node.GetAttribute(attribute))
        scene.RemoveNode(node)
    joined.GetSegmentation().CollapseBinaryLabelmaps(False)
    return joined


def _with_side(terminology: str, side: str) -> str:
    """The terminology entry with the structure as its anatomic region, and the side as its modifier."""
    logic = slicer.modules.terminologies.logic()
    entry = slicer.vtkSlicerTerminologyEntry()
    logic.DeserializeTerminologyEntry(terminology, entry)
    entry.GetRegionObject().Copy(entry.GetTypeObject())
    modifier = entry.GetRegionModifierObject()
    modifier.SetCodingSchemeDesignator("SCT")
    modifier.SetCodeValue(LATERALITY_CODES[side])
    modifier.SetCodeMeaning(side.capitalize())
    return logic.SerializeTerminologyEntry(entry)


def volumes_ml(
    node: slicer.vtkMRMLSegmentationNode, image: slicer.vtkMRMLScalarVolumeNode
) -> dict[str, float]:
    """The volume of every segment in mL, counted on the image's grid."""
    segmentation = node.GetSegmentation()
    voxel_ml = math.prod(image.GetSpacing()) / 1000
    return {
        segmentation.GetSegment(segment_id).GetName(): voxel_ml
        * int((slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, image) > 0).sum())
        for segment_id in segmentation.GetSegmentIDs()
    }
