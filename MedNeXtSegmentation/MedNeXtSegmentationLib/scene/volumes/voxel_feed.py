"""The voxels of volume nodes for a run, safe against scripts that change the nodes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import slicer
from mednext.errors import InputError
from mednext.images.source_image import SourceImage
from vtk.util.numpy_support import vtk_to_numpy

from .channels_from_nodes import channels_from_nodes


class VoxelFeed:
    """The voxels of a node, plane by plane: an array `(Z, Y, X)` as `mednext.worker.exchange.Planes`.

    Each plane is looked up anew: when a script resizes VTK's array, its memory moves, and reading the old
    place would crash Slicer. The feed keeps the array when the node drops it.
    """

    def __init__(self, node: slicer.vtkMRMLScalarVolumeNode, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape = shape
        self.dtype = dtype
        self._name = node.GetName()
        self._scalars = node.GetImageData().GetPointData().GetScalars()
        self._written = self._scalars.GetMTime()

    def __iter__(self) -> Iterator[np.ndarray]:
        """The planes `(Y, X)`, views to be used at once. Raises `InputError` when a script changes them."""
        for index in range(self.shape[0]):
            changed = self._scalars.GetMTime() != self._written
            if changed or self._scalars.GetNumberOfTuples() != np.prod(self.shape):
                raise InputError(
                    f'The voxels of "{self._name}" were changed while it was segmented: segment it again.'
                )
            yield vtk_to_numpy(self._scalars).reshape(self.shape)[index]


def channelsForRun(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[SourceImage]:
    """The channels of `channels_from_nodes`, with a `VoxelFeed` as the array of each."""
    return [
        replace(channel, array=VoxelFeed(node, channel.array.shape, channel.array.dtype))
        for channel, node in zip(channels_from_nodes(nodes), nodes, strict=True)
    ]
