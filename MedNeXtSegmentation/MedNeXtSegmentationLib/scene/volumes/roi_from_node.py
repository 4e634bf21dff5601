"""From a markups ROI to the engine's region of interest."""

from __future__ import annotations

import itertools

import numpy as np
import slicer
from mednext.errors import GeometryError
from mednext.images.geometry import Roi

from ..matrices import transform_between
from .parent_transform import is_sheared


def roi_from_node(roi: slicer.vtkMRMLMarkupsROINode, volume: slicer.vtkMRMLScalarVolumeNode | None) -> Roi:
    """The smallest box along the axes of the volume's own space that holds the ROI as the scene shows it.

    Without a volume, the axes are those of the world.

    Raises `GeometryError` when a non-linear or shearing transform lies between the two, or the ROI has no
    extent.
    """
    if min(roi.GetSize()) <= 0:
        raise GeometryError(f'The region "{roi.GetName()}" has no extent: draw its box first.')
    place = f'"{volume.GetName()}"' if volume else "the world"
    to_volume = transform_between(
        roi.GetParentTransformNode(), volume.GetParentTransformNode() if volume else None
    )
    if to_volume is None:
        raise GeometryError(
            f'There is a non-linear transform between {place} and the region "{roi.GetName()}": '
            "draw the region under the same transform."
        )
    matrix = to_volume @ slicer.util.arrayFromVTKMatrix(roi.GetObjectToNodeMatrix())
    if is_sheared(matrix[:3, :3]):
        raise GeometryError(
            f'The transform between {place} and the region "{roi.GetName()}" shears the region, '
            "and Slicer shows another box: draw the region under the same transform."
        )
    half = np.array(roi.GetSize()) / 2
    corners = np.array([(*(sign * half), 1.0) for sign in itertools.product((-1, 1), repeat=3)])
    positions = (corners @ matrix.T)[:, :3]
    lower, upper = positions.min(axis=0).tolist(), positions.max(axis=0).tolist()
    return Roi(tuple(lower), tuple(upper))
