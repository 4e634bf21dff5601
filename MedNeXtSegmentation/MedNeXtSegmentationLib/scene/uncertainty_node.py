"""The uncertainty of a result as a volume node, and the places in it that are worth a look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from mednext.geometry import Geometry
from mednext.uncertain_places import uncertain_places

from .label_voxels import copy_for_vtk
from .provenance import ATTRIBUTE_PREFIX
from .subject_hierarchy import place_beside

_ROLE = f"{ATTRIBUTE_PREFIX}uncertainty"
_PLACES = f"{ATTRIBUTE_PREFIX}places_ras_mm"
_COLORS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLColorTableNodeRainbow")
_LEAST_SHOWN = 0.05

Position = Sequence[float]


@dataclass(frozen=True, eq=False)
class PreparedUncertainty:
    """What takes time, done before: the voxels in VTK's memory, their largest value, the places."""

    scalars: vtk.vtkDataArray
    largest: float
    places: Sequence[Position]


def prepare_uncertainty(uncertainty: np.ndarray, geometry: Geometry) -> PreparedUncertainty:
    """Do what needs no scene, in any thread: seconds for a large volume."""
    places = [place.position for place in uncertain_places(uncertainty, geometry)]
    return PreparedUncertainty(copy_for_vtk(uncertainty), float(uncertainty.max(initial=0.0)), places)


def add_uncertainty_node(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    prepared: PreparedUncertainty,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the volume beside the image, on its grid and under its parent transform; no view shows it yet."""
    scene = volume.GetScene()
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GenerateUniqueName(f"{volume.GetName()} uncertainty"))
    # Before it is added: whoever looks for images shall know it from the first.
    node.SetAttribute(_PLACES, json.dumps([[round(mm, 3) for mm in place] for place in prepared.places]))
    scene.AddNode(node)
    _set_display(node, prepared.largest)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    image = vtk.vtkImageData()
    image.SetDimensions(volume.GetImageData().GetDimensions())
    image.GetPointData().SetScalars(prepared.scalars)
    node.SetAndObserveImageData(image)
    remember_uncertainty(segmentation, node)
    place_beside(node, volume)
    return node


def uncertainty_of(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The uncertainty of the last run that made or filled this segmentation, if it is in the scene."""
    return segmentation.GetNodeReference(_ROLE)


def is_uncertainty(volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a volume says how uncertain a result is, and shows no patient."""
    return volume.GetAttribute(_PLACES) is not None


def remember_uncertainty(
    segmentation: slicer.vtkMRMLSegmentationNode, uncertainty: slicer.vtkMRMLScalarVolumeNode | None
) -> None:
    """Say which volume is the uncertainty of the segmentation's result; None for none."""
    segmentation.SetNodeReferenceID(_ROLE, uncertainty.GetID() if uncertainty else None)


def places_of(uncertainty: slicer.vtkMRMLScalarVolumeNode) -> list[tuple[float, float, float]]:
    """The uncertain places in mm RAS of the world, the worst first, where the scene shows them now."""
    try:
        places = json.loads(uncertainty.GetAttribute(_PLACES) or "[]")
        local = [tuple(float(mm) for mm in place) for place in places]
    except (ValueError, TypeError):  # written by somebody else
        return []
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(uncertainty.GetParentTransformNode(), None, to_world)
    return [to_world.TransformPoint(place) for place in local if len(place) == 3]


def _set_display(node: slicer.vtkMRMLScalarVolumeNode, largest: float) -> None:
    """Transparent where the result is certain, so that it can lie over the image.

    Before there are voxels: a new display would look at all of them to choose its window.
    """
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, max(largest, _LEAST_SHOWN))
    display.AutoThresholdOff()
    display.ApplyThresholdOn()
    display.SetThreshold(_LEAST_SHOWN, 1.0)
    colors = next((color for color in _COLORS if node.GetScene().GetNodeByID(color)), None)
    if colors:
        display.SetAndObserveColorNodeID(colors)
    node.GetScene().AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
