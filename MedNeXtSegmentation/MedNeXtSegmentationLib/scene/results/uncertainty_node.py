"""The uncertainty of a result as a volume node, with its most uncertain places."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from mednext.segmentation.uncertainty_storage import to_float32
from mednext.system.json_reading import parse_json
from mednext.worker.hand_over import PERCENT, HandedOver

from ..result_record import ATTRIBUTE_PREFIX, set_uncertainty
from ..segments.label_voxels import copying_for_vtk
from ..subject_hierarchy import place_beside

_PLACES = f"{ATTRIBUTE_PREFIX}places_ras_mm"
_COLORS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLColorTableNodeRainbow")
_LEAST_SHOWN = 0.05
_FAR_MM = 1e6  # no image reaches so far

Position = tuple[float, float, float]


@dataclass(frozen=True)
class NamedPlace:
    """A position in mm RAS, and the names of the structures between which the model was undecided."""

    position: Position
    structures: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedUncertainty:
    """An uncertainty ready for the scene: voxels in VTK's memory, their largest value, the places.

    scalars: float32 from 0 to 1, or bytes in percent.
    """

    scalars: vtk.vtkDataArray
    largest: float
    places: Sequence[NamedPlace]


def copying_uncertainty(result: HandedOver) -> Generator[None, None, PreparedUncertainty | None]:
    """Copy the voxels into VTK's memory; yields before each plane. Returns None for a run without it."""
    uncertainty = result.uncertainty
    if uncertainty is None:
        return None
    in_percent = uncertainty.dtype == np.uint8
    scalars = vtk.vtkUnsignedCharArray() if in_percent else vtk.vtkFloatArray()
    yield from copying_for_vtk(uncertainty, scalars, np.asarray if in_percent else to_float32)
    names = {label.value: label.name for label in result.labels}
    places = [
        NamedPlace(place.position, tuple(names[value] for value in place.labels if value in names))
        for place in result.places
    ]
    return PreparedUncertainty(scalars, PERCENT * result.largest if in_percent else result.largest, places)


def add_uncertainty_node(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    prepared: PreparedUncertainty,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the volume beside the image, on its grid and under its parent transform, without showing it."""
    scene = volume.GetScene()
    node = new_uncertainty(scene, f"{volume.GetName()} uncertainty", prepared.largest, prepared.places)
    fill_uncertainty(node, volume, prepared)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    set_uncertainty(segmentation, node)
    place_beside(node, volume)
    return node


def new_uncertainty(
    scene: slicer.vtkMRMLScene, name: str, largest: float, places: Sequence[NamedPlace], one: float = 1.0
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume without voxels for an uncertainty of up to `largest`.

    one: the value of complete uncertainty.
    """
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GenerateUniqueName(name))
    # Before it is added: selectors of images must recognise it at once.
    node.SetAttribute(_PLACES, _written(places))
    scene.AddNode(node)
    _set_display(node, largest, one)
    return node


def fill_uncertainty(
    node: slicer.vtkMRMLScalarVolumeNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    prepared: PreparedUncertainty,
) -> None:
    """Give a node the voxels and the places, on the grid of the image; it may be in no scene."""
    node.SetAttribute(_PLACES, _written(prepared.places))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    image = vtk.vtkImageData()
    image.SetDimensions(volume.GetImageData().GetDimensions())
    image.GetPointData().SetScalars(prepared.scalars)
    node.SetAndObserveImageData(image)


def remember_places_of_frames(
    sequence: slicer.vtkMRMLSequenceNode, places: Mapping[str, Sequence[NamedPlace]]
) -> None:
    """Keep the places of each frame, by index value, with the sequence: its file keeps only voxels."""
    rounded = {value: json.loads(_written(those)) for value, those in places.items()}
    sequence.SetAttribute(_PLACES, json.dumps(rounded, ensure_ascii=False))


def is_uncertainty(volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a volume is an uncertainty, not an image of a patient."""
    return volume.GetAttribute(_PLACES) is not None or _places_of_frame(volume) is not None


def places_of(uncertainty: slicer.vtkMRMLScalarVolumeNode) -> list[Position]:
    """The positions of `named_places_of`."""
    return [place.position for place in named_places_of(uncertainty)]


def named_places_of(uncertainty: slicer.vtkMRMLScalarVolumeNode) -> list[NamedPlace]:
    """The uncertain places in mm RAS of the world, the worst first, under the present transforms.

    For a sequence, those of the shown frame.
    """
    places = _places_of_frame(uncertainty)
    if places is None:
        places = _value_in(uncertainty.GetAttribute(_PLACES))
    sound = filter(_is_place, places) if isinstance(places, list) else ()
    local = [([float(mm) for mm in place[:3]], tuple(map(str, place[3:]))) for place in sound]
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(uncertainty.GetParentTransformNode(), None, to_world)
    return [NamedPlace(tuple(to_world.TransformPoint(place)), names) for place, names in local]


def shown_value(browser: slicer.vtkMRMLSequenceBrowserNode) -> str:
    """The index value of the frame that a browser shows; that of the first before one is chosen."""
    return browser.GetMasterSequenceNode().GetNthIndexValue(max(0, browser.GetSelectedItemNumber()))


def _value_in(text: str | None) -> Any:
    """The value in an attribute, which anybody may have changed; None for any other text than JSON."""
    try:
        return parse_json(text or "null")
    except (ValueError, RecursionError):
        return None


def _is_place(value: Any) -> bool:
    is_long = isinstance(value, list) and len(value) >= len("xyz")
    return is_long and all(isinstance(mm, int | float) and abs(mm) < _FAR_MM for mm in value[:3])


def _written(places: Sequence[NamedPlace]) -> str:
    lists = [[*(round(mm, 3) for mm in place.position), *place.structures] for place in places]
    return json.dumps(lists, ensure_ascii=False)


def _places_of_frame(volume: slicer.vtkMRMLScalarVolumeNode) -> list[Any] | None:
    """The places of the shown frame of a sequence; None for a volume outside of sequences.

    Not the volume's own attribute: after loading a scene it belongs to another frame.
    """
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volume)
    sequence = browser.GetSequenceNode(volume) if browser else None
    text = sequence.GetAttribute(_PLACES) if sequence else None
    if text is None:
        return None
    item = sequence.GetItemNumberFromIndexValue(shown_value(browser), False)
    told = _value_in(text)
    found = told.get(sequence.GetNthIndexValue(item)) if isinstance(told, dict) and item >= 0 else None
    return found if isinstance(found, list) else []


def _set_display(node: slicer.vtkMRMLScalarVolumeNode, largest: float, one: float) -> None:
    """Make certain voxels transparent, so that the volume can lie over the image.

    Called before there are voxels: a new display would read all of them to choose its window.
    """
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, max(largest, _LEAST_SHOWN * one))
    display.AutoThresholdOff()
    display.ApplyThresholdOn()
    display.SetThreshold(_LEAST_SHOWN * one, one)
    colors = next((color for color in _COLORS if node.GetScene().GetNodeByID(color)), None)
    if colors:
        display.SetAndObserveColorNodeID(colors)
    node.GetScene().AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
