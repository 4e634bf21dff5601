"""From volume nodes to the engine's channels: voxels, and their place in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
from mednext.errors import ChannelError, GeometryError, InputError, UnsupportedImageError
from mednext.images.geometry import Geometry
from mednext.images.source_image import SourceImage
from vtk.util.numpy_support import vtk_to_numpy

from ..matrices import ijk_to_ras_of, transform_between
from .image_description import describe
from .nifti_place import nifti_place_warning


def channels_from_nodes(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[SourceImage]:
    """The channels of a model from one volume node each, all in the space of the first one.

    A channel under another linear transform than the first one is moved to where the scene shows it. Arrays
    are views of the nodes' voxels, `(Z, Y, X)`.

    Raises:
        InputError: a node is not a volume, or has no voxels.
        UnsupportedImageError: a label map, or more than one number per voxel.
        ChannelError: no volume, or the same volume twice.
        GeometryError: a non-linear transform between two channels, or a sheared grid.
    """
    if not nodes:
        raise ChannelError("No volume was given: choose one for each channel of the model.")
    for node in nodes:
        _check(node)
    if len({node.GetID() for node in nodes}) < len(nodes):
        names = ", ".join(f'"{node.GetName()}"' for node in nodes)
        raise ChannelError(f"The same volume was given for two channels ({names}): choose one for each.")
    return [
        SourceImage(
            node.GetName(),
            _voxels(node),
            _geometry(node, nodes[0]),
            describe(node),
            tuple(filter(None, [nifti_place_warning(node)])),
        )
        for node in nodes
    ]


def _check(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    if node is None:
        raise InputError("No volume was given: choose one for each channel of the model.")
    if node.IsA("vtkMRMLSequenceNode"):
        raise InputError(
            f'"{node.GetName()}" is a sequence of volumes: give the volume that its sequence browser shows.'
        )
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f'"{node.GetName()}" is a {node.GetNodeTagName()}, not a volume: choose an image.')
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise UnsupportedImageError(
            f'"{node.GetName()}" is a label map, not an image: choose the image that it was drawn on.'
        )
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    if scalars is None or not 0 < scalars.GetNumberOfTuples() == image.GetNumberOfPoints():
        raise InputError(f'"{node.GetName()}" has no voxels: load the image again.')
    start = image.GetExtent()[::2]
    if any(start):
        raise UnsupportedImageError(
            f'The voxels of "{node.GetName()}" are counted from {start}, not from 0, and its files and '
            "arrays have another place than Slicer's views: call ShiftImageDataExtentToZeroStart() of the "
            "node, or cut it with the module Crop Volume."
        )
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise UnsupportedImageError(
            f'"{node.GetName()}" has {components} numbers per voxel (a colour or vector volume): '
            "make a scalar volume of it first, with the module Vector to Scalar Volume."
        )


def _voxels(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """The voxels `(Z, Y, X)`, a view; VTK's memory order is k, j, i."""
    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(tuple(reversed(image.GetDimensions())))


def _geometry(node: slicer.vtkMRMLScalarVolumeNode, first: slicer.vtkMRMLScalarVolumeNode) -> Geometry:
    """The geometry of `node` in the space of `first`, which is the one under its parent transform."""
    matrix = ijk_to_ras_of(node)
    if node.GetParentTransformNode() != first.GetParentTransformNode():
        to_first = transform_between(node.GetParentTransformNode(), first.GetParentTransformNode())
        if to_first is None:
            raise GeometryError(
                f'There is a non-linear transform between "{first.GetName()}" and "{node.GetName()}": '
                "harden it on the volume, in the module Transforms."
            )
        matrix = to_first @ matrix
    try:
        return Geometry.from_ijk_to_ras(matrix, node.GetImageData().GetDimensions())
    except (GeometryError, UnsupportedImageError) as error:
        raise type(error)(f'"{node.GetName()}": {error}') from error
