"""How large the structures were that a run found: kept with the node, as the user may edit the segments."""

from __future__ import annotations

import json
from collections.abc import Mapping

import slicer

from .provenance import ATTRIBUTE_PREFIX

_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}volumes_ml"


def keep_volumes(node: slicer.vtkMRMLSegmentationNode, volumes_ml: Mapping[str, float]) -> None:
    """Keep the volume (mL) of each structure as an attribute, which is saved with the scene."""
    node.SetAttribute(_ATTRIBUTE, json.dumps(dict(volumes_ml), ensure_ascii=False))


def volumes_of(node: slicer.vtkMRMLSegmentationNode) -> dict[str, float]:
    """The volume (mL) of each structure as it was found; empty for a node that no run made."""
    try:
        volumes = json.loads(node.GetAttribute(_ATTRIBUTE) or "{}")
        return {str(name): float(volume) for name, volume in volumes.items()}
    except (ValueError, TypeError, AttributeError):  # written by somebody else
        return {}
