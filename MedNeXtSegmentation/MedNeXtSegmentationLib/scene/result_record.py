"""The record of a run in its segmentation node: provenance, images, volumes, uncertainty, found labels.

All of it but the found labels is saved with the scene.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import slicer
from mednext.segmentation.packed_labels import FoundLabels
from mednext.system.json_reading import numbers_in

from .session_memory import SessionMemory

ATTRIBUTE_PREFIX = "MedNeXtSegmentation."

_IMAGES = f"{ATTRIBUTE_PREFIX}image"
_UNCERTAINTY = f"{ATTRIBUTE_PREFIX}uncertainty"
_VOLUMES = f"{ATTRIBUTE_PREFIX}volumes_ml"

_found: SessionMemory[FoundLabels] = SessionMemory()


def set_provenance(node: slicer.vtkMRMLNode, provenance: Mapping[str, str]) -> None:
    """Make these the attributes of the node, instead of those of an earlier result."""
    for key in provenance_of(node):
        node.RemoveAttribute(ATTRIBUTE_PREFIX + key)
    for key, value in provenance.items():
        node.SetAttribute(ATTRIBUTE_PREFIX + key, value)


def provenance_of(node: slicer.vtkMRMLNode) -> dict[str, str]:
    """The provenance in the node's attributes; empty for a node that no run made."""
    names = [name for name in node.GetAttributeNames() if name.startswith(ATTRIBUTE_PREFIX)]
    return {name.removeprefix(ATTRIBUTE_PREFIX): node.GetAttribute(name) for name in names}


def set_volumes(node: slicer.vtkMRMLSegmentationNode, volumes_ml: Mapping[str, float]) -> None:
    """Record the volume (mL) of each structure that the run found; later corrections do not change it."""
    node.SetAttribute(_VOLUMES, json.dumps(dict(volumes_ml), ensure_ascii=False))


def volumes_of(node: slicer.vtkMRMLSegmentationNode) -> dict[str, float]:
    """The volume (mL) of each structure as the run found it; empty for a node that no run made."""
    return numbers_in(node.GetAttribute(_VOLUMES) or "")


def set_images(
    node: slicer.vtkMRMLSegmentationNode, channels: Sequence[slicer.vtkMRMLScalarVolumeNode]
) -> None:
    """Record the volumes that the run segmented, in the order of the model's channels."""
    node.RemoveNodeReferenceIDs(_IMAGES)
    for channel in channels:
        node.AddNodeReferenceID(_IMAGES, channel.GetID())


def images_of(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The segmented volumes that are still in the scene; the reference volume of a node that no run made."""
    count = node.GetNumberOfNodeReferences(_IMAGES)
    images = [node.GetNthNodeReference(_IMAGES, number) for number in range(count)]
    if not count:
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        images = [node.GetNodeReference(role)]
    return [image for image in images if image is not None]


def set_uncertainty(
    node: slicer.vtkMRMLSegmentationNode, uncertainty: slicer.vtkMRMLScalarVolumeNode | None
) -> None:
    """Record which volume is the uncertainty of the result; None for a run without one."""
    node.SetNodeReferenceID(_UNCERTAINTY, uncertainty.GetID() if uncertainty else None)


def uncertainty_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The uncertainty of the result, if there is one in the scene."""
    return node.GetNodeReference(_UNCERTAINTY)


def set_found_labels(node: slicer.vtkMRMLSegmentationNode, found: FoundLabels | None) -> None:
    """Record, for this session, the labels that the run found; None for unknown ones."""
    _found.forget(node)
    if found:
        _found.put(node, found)


def found_labels_of(node: slicer.vtkMRMLSegmentationNode) -> FoundLabels | None:
    """The labels that the run found; None when the scene was loaded or the node was copied since."""
    return _found.get(node)


@dataclass(frozen=True)
class ResultRecord:
    """The whole record of a node and its colour table, which undo and redo restore with the segments."""

    provenance: Mapping[str, str]
    images: tuple[slicer.vtkMRMLScalarVolumeNode, ...]
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    found: FoundLabels | None
    colors: slicer.vtkMRMLColorTableNode | None

    @classmethod
    def of(cls, node: slicer.vtkMRMLSegmentationNode) -> ResultRecord:
        """The record of a node as it is now."""
        return cls(
            provenance_of(node),
            tuple(images_of(node)),
            uncertainty_of(node),
            found_labels_of(node),
            node.GetLabelmapConversionColorTableNode(),
        )

    def restore(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Make this the record of a node, without the nodes that have left the scene."""
        uncertainty, colors = self.uncertainty, self.colors
        set_provenance(node, self.provenance)
        set_images(node, [image for image in self.images if image.GetScene()])
        set_uncertainty(node, uncertainty if uncertainty is not None and uncertainty.GetScene() else None)
        set_found_labels(node, self.found)
        table = colors.GetID() if colors is not None and colors.GetScene() else None
        node.SetLabelmapConversionColorTableNodeID(table)
