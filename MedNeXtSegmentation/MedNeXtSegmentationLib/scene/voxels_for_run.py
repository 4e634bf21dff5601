"""The voxels of volume nodes for a run that goes on while scripts may do what they like with the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import slicer
from mednext.errors import InputError
from mednext.protocol import Channel
from vtk.util.numpy_support import vtk_to_numpy

from ..engine.voxel_feed import VoxelFeed
from .volume_from_node import channels_from_nodes


def channelsForRun(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[Channel]:
    """As `channels_from_nodes`, with arrays that the main thread copies for the run; see `VoxelFeed`."""
    return [
        replace(channel, array=_feed(node, channel.array.shape, channel.array.dtype))
        for channel, node in zip(channels_from_nodes(nodes), nodes, strict=True)
    ]


def _feed(node: slicer.vtkMRMLScalarVolumeNode, shape: tuple[int, ...], dtype: np.dtype) -> VoxelFeed:
    z, y, x = shape
    name = node.GetName()
    scalars = node.GetImageData().GetPointData().GetScalars()
    written = scalars.GetMTime()

    def plane(index: int) -> np.ndarray:
        # The node may have got other voxels meanwhile: these here are kept by this reference.
        if scalars.GetMTime() != written or scalars.GetNumberOfTuples() != z * y * x:
            raise InputError(f'The voxels of "{name}" were changed while it was segmented: segment it again.')
        return vtk_to_numpy(scalars).reshape(z, y, x)[index].copy()  # anew: its memory may have moved

    return VoxelFeed((z, y, x), dtype, plane)
