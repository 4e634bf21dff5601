"""A sample of a volume's voxels, kept until they change."""

from __future__ import annotations

from collections import OrderedDict

import slicer
from mednext.inputs.voxel_sample import VoxelSample, sample_of
from vtk.util.numpy_support import vtk_to_numpy

_KEPT = 32

_samples: OrderedDict[str, tuple[int, VoxelSample]] = OrderedDict()


def last_change(volume: slicer.vtkMRMLScalarVolumeNode | None) -> tuple[str, int]:
    """A key that differs between volumes and after each change of the voxels."""
    image = volume.GetImageData() if volume else None
    scalars = image.GetPointData().GetScalars() if image else None
    # VTK's modification times increase over all objects.
    return volume.GetID() if volume else "", max(
        (each.GetMTime() for each in (image, scalars) if each), default=0
    )


def forget_sample(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Drop the sample: the voxels have changed, perhaps unnoticed by VTK."""
    _samples.pop(volume.GetID(), None)


def voxel_sample(volume: slicer.vtkMRMLScalarVolumeNode) -> VoxelSample:
    """The sample of a volume that has voxels."""
    image, written = volume.GetImageData(), last_change(volume)[1]
    known = _samples.get(volume.GetID())
    if known and known[0] == written:
        _samples.move_to_end(volume.GetID())
        return known[1]
    scalars = image.GetPointData().GetScalars()
    sample = sample_of(vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions()))))
    _samples[volume.GetID()] = written, sample
    while len(_samples) > _KEPT:
        _samples.popitem(last=False)
    return sample
