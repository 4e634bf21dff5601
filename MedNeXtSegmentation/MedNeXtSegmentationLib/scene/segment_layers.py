"""Labelmaps that segments share, and how some segments leave one without a change for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import slicer
from mednext.labels import MAX_LABEL
from vtk.util.numpy_support import vtk_to_numpy

from .label_voxels import copy_for_vtk

LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
SURFACE = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()


def has_labelmaps(segmentation: slicer.vtkSegmentation) -> bool:
    """Whether the segments are drawn as labelmaps: not as surfaces, contours, or fractions of voxels."""
    return segmentation.GetSourceRepresentationName() == LABELMAP


def separate(segmentation: slicer.vtkSegmentation, segment_ids: Iterable[str]) -> None:
    """Give these segments labelmaps that no other segment shares.

    Voxels, label values and surfaces of all segments stay as they are. A labelmap that is shared with others
    is not written to: both sides get a new one. Else the next segment that Slicer puts into the old one could
    get one of our label values, and with it our voxels.
    """
    ours = set(segment_ids)
    for image, sharing in layers_of(segmentation).items():
        leaving = [segment_id for segment_id in sharing if segment_id in ours]
        staying = [segment_id for segment_id in sharing if segment_id not in ours]
        if leaving and staying:
            values = [segmentation.GetSegment(segment_id).GetLabelValue() for segment_id in leaving]
            left, stayed = _split(image, values)
            for segment_id in leaving:
                segmentation.GetSegment(segment_id).AddRepresentation(LABELMAP, left)
            for segment_id in staying:
                segmentation.GetSegment(segment_id).AddRepresentation(LABELMAP, stayed)


def voxels_of(image: slicer.vtkOrientedImageData) -> np.ndarray:
    """The voxels `(Z, Y, X)` of a labelmap, a view."""
    scalars = image.GetPointData().GetScalars()
    return vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions())))


def layers_of(segmentation: slicer.vtkSegmentation) -> dict[slicer.vtkOrientedImageData, list[str]]:
    """The labelmaps that have voxels, and the segments that share them."""
    layers: dict[slicer.vtkOrientedImageData, list[str]] = {}
    for segment_id in segmentation.GetSegmentIDs():
        image = segmentation.GetSegment(segment_id).GetRepresentation(LABELMAP)
        if image is not None and image.GetPointData().GetScalars() is not None:
            layers.setdefault(image, []).append(segment_id)
    return layers


def _split(
    image: slicer.vtkOrientedImageData, values: list[int]
) -> tuple[slicer.vtkOrientedImageData, slicer.vtkOrientedImageData]:
    """Two labelmaps: the voxels with these values, and all others."""
    voxels = voxels_of(image)
    left = with_values(voxels, {value: value for value in values}, voxels.dtype)
    return _in_place_of(image, left), _in_place_of(image, np.where(left == 0, voxels, 0))


def with_values(voxels: np.ndarray, values: Mapping[int, int], dtype: np.dtype) -> np.ndarray:
    """The voxels of a labelmap with a new value for each of these, and 0 for all others."""
    low, high = int(voxels.min(initial=0)), int(voxels.max(initial=0))
    if voxels.dtype.kind not in "ui" or low < 0 or high > MAX_LABEL:  # an imported labelmap may have any
        changed = np.zeros(voxels.shape, dtype)
        for value, new in values.items():
            changed[voxels == value] = new
        return changed
    lookup = np.zeros(high + 1, dtype)
    for value, new in values.items():
        if 0 <= value <= high:
            lookup[value] = new
    return lookup[voxels]


def _in_place_of(image: slicer.vtkOrientedImageData, voxels: np.ndarray) -> slicer.vtkOrientedImageData:
    """A new labelmap at the same place."""
    new = slicer.vtkOrientedImageData()
    new.CopyStructure(image)
    new.CopyDirections(image)
    new.GetPointData().SetScalars(copy_for_vtk(voxels))
    return new
