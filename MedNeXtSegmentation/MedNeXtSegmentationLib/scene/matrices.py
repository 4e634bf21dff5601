"""Matrices of volumes, labelmaps and transforms, as 4x4 arrays."""

from __future__ import annotations

import numpy as np
import slicer
import vtk


def ijk_to_ras_of(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """From the volume's indices to its own space (mm RAS), without the parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def array_to_ras_of(labelmap: slicer.vtkOrientedImageData) -> np.ndarray:
    """From the indices of a labelmap's array, which begin at 0, to the segmentation's own space (mm RAS)."""
    to_ras = image_to_ras_of(labelmap)
    to_ras[:3, 3] += to_ras[:3, :3] @ labelmap.GetExtent()[::2]
    return to_ras


def image_to_ras_of(labelmap: slicer.vtkOrientedImageData) -> np.ndarray:
    """From a labelmap's own indices, which begin at its extent, to the segmentation's own space (mm RAS)."""
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def transform_between(
    source: slicer.vtkMRMLTransformNode | None, target: slicer.vtkMRMLTransformNode | None
) -> np.ndarray | None:
    """From the space under one transform to that under another; None if this is not linear.

    source, target: None for the world.
    """
    matrix = vtk.vtkMatrix4x4()
    linear = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix) if linear else None
