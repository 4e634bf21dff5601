"""All that a node knows of its result besides the segments: it goes back together with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import slicer
from mednext.segmentation.packed_labels import FoundLabels

from .found_labels import found_of, keep_found
from .provenance import provenance_of, set_provenance
from .result_images import images_of, remember_images
from .uncertainty_node import remember_uncertainty, uncertainty_of


@dataclass(frozen=True)
class ResultFacts:
    """Provenance with volumes, the images, the uncertainty, what the run had found, and the colour table."""

    provenance: Mapping[str, str]
    images: tuple[slicer.vtkMRMLScalarVolumeNode, ...]
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    found: FoundLabels | None
    colors: slicer.vtkMRMLColorTableNode | None


def facts_of(node: slicer.vtkMRMLSegmentationNode) -> ResultFacts:
    """What a node knows of its result now."""
    return ResultFacts(
        provenance_of(node),
        tuple(images_of(node)),
        uncertainty_of(node),
        found_of(node),
        node.GetLabelmapConversionColorTableNode(),
    )


def restore_facts(node: slicer.vtkMRMLSegmentationNode, facts: ResultFacts) -> None:
    """Let a node know what it knew then; nodes that are gone stay away."""
    set_provenance(node, facts.provenance)
    remember_images(node, [image for image in facts.images if image.GetScene()])
    uncertainty = facts.uncertainty
    remember_uncertainty(node, uncertainty if uncertainty is not None and uncertainty.GetScene() else None)
    keep_found(node, facts.found)
    colors = facts.colors if facts.colors is not None and facts.colors.GetScene() else None
    node.SetLabelmapConversionColorTableNodeID(colors.GetID() if colors else None)
