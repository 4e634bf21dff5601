"""The boxes of both sides of a structure, as ROI nodes in the views.

A box belongs to a volume, by a node reference. An attribute keeps the place in which the run put it, so that
a box that was moved since is known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
from mednext.errors import GeometryError
from mednext.model.location import SIDES, Location
from mednext.model.sides import box_word

from .result_record import ATTRIBUTE_PREFIX, images_of, provenance_of
from .volumes.channels_from_nodes import channels_from_nodes
from .volumes.roi_from_node import roi_from_node

Boxes = dict[str, slicer.vtkMRMLMarkupsROINode]

_SIDE = f"{ATTRIBUTE_PREFIX}side"
_FOUND = f"{ATTRIBUTE_PREFIX}found_ras_mm"
_VOLUME = f"{ATTRIBUTE_PREFIX}volume"
_MOVED_MM = 0.2
_COLORS = {"left": (0.9, 0.6, 0.0), "right": (0.3, 0.7, 0.9)}


def show_boxes(result: slicer.vtkMRMLSegmentationNode, structure: str) -> Boxes:
    """Show the boxes in which a result was found; none for a result that has none.

    structure: the name of the structure, for the names of new nodes.
    """
    words, images = provenance_of(result), images_of(result)
    found = {side: words.get(box_word(side), "") for side in SIDES}
    if not images or any(_corners(text) is None for text in found.values()):
        return {}
    boxes = boxes_of(images[0])
    for side in SIDES:
        box = boxes.get(side) or _new_box(images[0], side, structure)
        _put(box, images[0], found[side])
        boxes[side] = box
    return boxes


def place_boxes(volume: slicer.vtkMRMLScalarVolumeNode, location: Location) -> Boxes:
    """Put boxes of the usual size side by side into the middle of a volume, for the user to move."""
    (channel,) = channels_from_nodes([volume])
    middle = channel.geometry.corners_ras.mean(axis=0)
    apart = np.array([abs(location.places[0].centre[0]), 0.0, 0.0])
    boxes = {}
    for place in location.places:
        centre = middle + (apart if place.side == "right" else -apart)
        half = np.array(place.size) / 2
        corners = np.concatenate([centre - half, centre + half]).round(1)
        boxes[place.side] = _new_box(volume, place.side, location.structure)
        _put(boxes[place.side], volume, " ".join(f"{mm:.1f}" for mm in corners))
    return boxes


def boxes_of(volume: slicer.vtkMRMLScalarVolumeNode) -> Boxes:
    """The boxes of a volume that are in the scene, by their side."""
    found = {}
    for box in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"):
        if box.GetAttribute(_SIDE) in SIDES and box.GetNodeReference(_VOLUME) is volume:
            found[box.GetAttribute(_SIDE)] = box
    return found


def moved_boxes(volume: slicer.vtkMRMLScalarVolumeNode) -> Boxes:
    """Both boxes of a volume if the user has moved one of them since the run; otherwise none."""
    boxes = boxes_of(volume)
    if set(boxes) != set(SIDES) or not any(_is_moved(box, volume) for box in boxes.values()):
        return {}
    return {side: boxes[side] for side in SIDES}


def remove_boxes(boxes: Mapping[str, slicer.vtkMRMLMarkupsROINode]) -> None:
    """Remove boxes from their scene, so that the next run finds them again."""
    for box in boxes.values():
        box.GetScene().RemoveNode(box)


def _put(
    box: slicer.vtkMRMLMarkupsROINode, volume: slicer.vtkMRMLScalarVolumeNode, corners_ras_mm: str
) -> None:
    corners = _corners(corners_ras_mm)
    assert corners is not None
    box.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    box.SetCenter(*corners.mean(axis=0).tolist())
    box.SetSize(*(corners[1] - corners[0]).tolist())
    box.SetAttribute(_FOUND, corners_ras_mm)


def _corners(text: str) -> np.ndarray | None:
    """Both corners `(2, 3)` in mm RAS; None for any other text, since anybody may change an attribute."""
    try:
        corners = np.array([float(mm) for mm in text.split()]).reshape(2, 3)
    except ValueError:
        return None
    return corners if np.isfinite(corners).all() and (corners[0] < corners[1]).all() else None


def _is_moved(box: slicer.vtkMRMLMarkupsROINode, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    found = _corners(box.GetAttribute(_FOUND) or "")
    try:
        now = roi_from_node(box, volume)
    except GeometryError:  # the run reports it
        return True
    return found is None or bool(np.abs(np.array([now.lower, now.upper]) - found).max() > _MOVED_MM)


def _new_box(
    volume: slicer.vtkMRMLScalarVolumeNode, side: str, structure: str
) -> slicer.vtkMRMLMarkupsROINode:
    scene = volume.GetScene()
    box = scene.AddNewNodeByClass(
        "vtkMRMLMarkupsROINode", scene.GenerateUniqueName(f"{side} {structure} box")
    )
    box.CreateDefaultDisplayNodes()
    display = box.GetDisplayNode()
    display.SetColor(*_COLORS[side])
    display.SetSelectedColor(*_COLORS[side])
    display.SetFillOpacity(0.05)
    box.SetAttribute(_SIDE, side)
    box.SetNodeReferenceID(_VOLUME, volume.GetID())
    return box
