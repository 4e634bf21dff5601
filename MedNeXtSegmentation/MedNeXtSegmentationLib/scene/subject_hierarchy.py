"""Where a result stands in the tree of patients and studies."""

from __future__ import annotations

import slicer


def place_beside(node: slicer.vtkMRMLNode, neighbour: slicer.vtkMRMLNode) -> None:
    """Put a node under the same item (study, folder, or the scene) as its neighbour."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(neighbour)
    if item and beside:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
