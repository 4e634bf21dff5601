"""How a result was made, as attributes of its node: saved with the scene and shown in the module Data."""

from __future__ import annotations

from collections.abc import Mapping

import slicer

ATTRIBUTE_PREFIX = "MedNeXtSegmentation."


def set_provenance(node: slicer.vtkMRMLNode, provenance: Mapping[str, str]) -> None:
    """Make these the attributes of the node, instead of those of an earlier result."""
    for key in provenance_of(node):
        node.RemoveAttribute(ATTRIBUTE_PREFIX + key)
    for key, value in provenance.items():
        node.SetAttribute(ATTRIBUTE_PREFIX + key, value)


def provenance_of(node: slicer.vtkMRMLNode) -> dict[str, str]:
    """What the attributes say; empty for a node that no run made."""
    names = [name for name in node.GetAttributeNames() if name.startswith(ATTRIBUTE_PREFIX)]
    return {name.removeprefix(ATTRIBUTE_PREFIX): node.GetAttribute(name) for name in names}
