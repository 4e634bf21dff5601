"""The sample of a volume's voxels, remembered until they are changed."""

from __future__ import annotations

from collections import OrderedDict

import slicer
from mednext.voxel_sample import VoxelSample, sample_of
from vtk.util.numpy_support import vtk_to_numpy

_KEPT = 32

_samples: OrderedDict[str, tuple[int, VoxelSample]] = OrderedDict()


def voxel_sample(volume: slicer.vtkMRMLScalarVolumeNode) -> VoxelSample:
    """The sample of a volume that has voxels."""
    image = volume.GetImageData()
    scalars = image.GetPointData().GetScalars()
    written = max(image.GetMTime(), scalars.GetMTime())  # VTK counts them up for all objects together
    known = _samples.get(volume.GetID())
    if known and known[0] == written:
        _samples.move_to_end(volume.GetID())
        return known[1]
    sample = sample_of(vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions()))))
    _samples[volume.GetID()] = written, sample
    while len(_samples) > _KEPT:
        _samples.popitem(last=False)
    return sample
