"""Volume nodes for tests of the Slicer side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk

# Neither its axes nor their order are those of the patient, and it is left-handed.
OBLIQUE_LEFT_HANDED = np.array(
    [
        [0.0, -1.2 * np.cos(0.3), 0.9 * np.sin(0.3), 31.0],
        [0.8, 0.0, 0.0, -12.5],
        [0.0, 1.2 * np.sin(0.3), 0.9 * np.cos(0.3), 4.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def head(shape: Sequence[int] = (24, 36, 20), seed: int = 0) -> np.ndarray:
    """Smooth blobs with noise `(Z, Y, X)`, float32: enough structure for a network to see differences."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=[-(-n // 4) for n in shape])
    voxels = np.kron(coarse, np.ones((4, 4, 4)))[tuple(slice(n) for n in shape)]
    return (500 + 200 * voxels + 20 * generator.normal(size=shape)).astype(np.float32)


def add_volume(
    scene: slicer.vtkMRMLScene, voxels: np.ndarray, ijk_to_ras: np.ndarray | None = None, name: str = "T1"
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume node with these voxels `(Z, Y, X)`."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, voxels)
    if ijk_to_ras is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return node


def add_linear_transform(scene: slicer.vtkMRMLScene, matrix: np.ndarray) -> slicer.vtkMRMLTransformNode:
    """Add a linear transform node with this 4x4 matrix to its parent."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def add_warp(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLTransformNode:
    """Add a transform node that bends space."""
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for n, point in enumerate([(0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)]):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0] + n, point[1] - 2 * n, point[2] + n * n)
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(spline)
    return node


def translation(x: float, y: float, z: float) -> np.ndarray:
    """The 4x4 matrix of a shift in mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def rotation_about_s(degrees: float) -> np.ndarray:
    """The 4x4 matrix of a rotation about the superior axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    return matrix
