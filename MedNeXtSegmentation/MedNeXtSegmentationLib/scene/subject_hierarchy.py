"""The place of a node in the tree of patients and studies."""

from __future__ import annotations

import slicer


def hierarchy_of(node: slicer.vtkMRMLNode) -> slicer.vtkMRMLSubjectHierarchyNode | None:
    """The hierarchy of the node's scene; None where the scene has none, and none is created."""
    return hierarchy_of_scene(node.GetScene())


def hierarchy_of_scene(scene: slicer.vtkMRMLScene | None) -> slicer.vtkMRMLSubjectHierarchyNode | None:
    """The hierarchy of a scene, as for `hierarchy_of`."""
    if scene is None or not scene.GetNumberOfNodesByClass("vtkMRMLSubjectHierarchyNode"):
        return None
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def ancestor_of(node: slicer.vtkMRMLNode, level: str) -> str:
    """The node's "Study" or "Patient": its DICOM UID, or the number of its item; "" if there is none."""
    hierarchy = hierarchy_of(node)
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    ancestor = hierarchy.GetItemAncestorAtLevel(item, level) if hierarchy and item else 0
    if not hierarchy or not ancestor:
        return ""
    return hierarchy.GetItemUID(ancestor, "DICOM") or f"item {ancestor}"


def attribute_of(node: slicer.vtkMRMLNode, name: str) -> str:
    """An attribute of the node, or else of its item; "" if neither has it."""
    hierarchy = hierarchy_of(node)
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    return node.GetAttribute(name) or (hierarchy.GetItemAttribute(item, name) if hierarchy and item else "")


def place_beside(node: slicer.vtkMRMLNode, neighbour: slicer.vtkMRMLNode) -> None:
    """Put a node under the same item (study, folder, or the scene) as its neighbour."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(neighbour)
    if item and beside:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
