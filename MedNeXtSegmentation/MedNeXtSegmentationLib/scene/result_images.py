"""Which images a result was made from, remembered in the scene."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from .provenance import ATTRIBUTE_PREFIX

_ROLE = f"{ATTRIBUTE_PREFIX}image"


def remember_images(
    node: slicer.vtkMRMLSegmentationNode, channels: Sequence[slicer.vtkMRMLScalarVolumeNode]
) -> None:
    """Remember the volumes of a run, in the order of the model's channels."""
    node.RemoveNodeReferenceIDs(_ROLE)
    for channel in channels:
        node.AddNodeReferenceID(_ROLE, channel.GetID())


def images_of(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The volumes of the last run into a node that are still in the scene.

    For a node that no run made, the volume that its grid was taken from.
    """
    count = node.GetNumberOfNodeReferences(_ROLE)
    images = [node.GetNthNodeReference(_ROLE, number) for number in range(count)]
    if not count:
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        images = [node.GetNodeReference(role)]
    return [image for image in images if image is not None]
