"""A colour table for each model, so that Slicer's own exports use the model's label values."""

from __future__ import annotations

import slicer
from mednext.segmentation.result import Described

from ..result_record import ATTRIBUTE_PREFIX

_LABELS = f"{ATTRIBUTE_PREFIX}labels_of"


def add_color_table(node: slicer.vtkMRMLSegmentationNode, segmentation: Described) -> None:
    """Give a node the colour table of its model, which the scene has once.

    It holds the labels of all results of the model so far. A table chosen by the user stays.
    """
    scene = node.GetScene()
    present = node.GetLabelmapConversionColorTableNode()
    if present is not None and present.GetAttribute(_LABELS) is None:
        return
    model = segmentation.provenance.get("model", "")
    table = _table_of(scene, model) or _new_table(scene, model)
    largest = max((label.value for label in segmentation.labels), default=0)
    if table.GetNumberOfColors() <= largest:
        table.SetNumberOfColors(largest + 1)
    entries = [label.terminology.entry() for label in segmentation.labels if label.terminology]
    for label in segmentation.labels:
        red, green, blue = (channel / 255 for channel in label.color)
        table.SetColor(label.value, label.name, red, green, blue, 1.0)
        # Slicer looks for the codes first, then for the name: two parts of one organ may have the same codes.
        if label.terminology and entries.count(label.terminology.entry()) == 1:
            table.SetTerminologyFromString(label.value, label.terminology.entry())
    node.SetLabelmapConversionColorTableNodeID(table.GetID())


def _table_of(scene: slicer.vtkMRMLScene, model: str) -> slicer.vtkMRMLColorTableNode | None:
    tables = slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene)
    return next((table for table in tables if table.GetAttribute(_LABELS) == model), None)


def _new_table(scene: slicer.vtkMRMLScene, model: str) -> slicer.vtkMRMLColorTableNode:
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(f"{model} labels")
    table.SetAttribute(_LABELS, model)
    table.SetAttribute("Category", "Segmentations")  # where Slicer's colour selectors list it
    table.SetTypeToUser()
    table.SetNumberOfColors(1)
    table.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
    scene.AddNode(table)
    return table
