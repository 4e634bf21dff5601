"""The surfaces that Show 3D makes are smooth, and not of bricks (forum topic D42075)."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fixtures.scene.segmentation_nodes import add_alone
from fixtures.scene.volume_nodes import add_volume
from mednext.images.geometry import Geometry
from mednext.model.labels import Label
from mednext.segmentation.result import Segmentation
from vtk.util.numpy_support import vtk_to_numpy

RADIUS_MM = 10.0
CENTRE_MM = 15.0


@pytest.fixture
def ball(scene):
    """A ball of 1 mm voxels, as the engine would return it."""
    z, y, x = np.ogrid[:31, :31, :31]
    labelmap = ((z - CENTRE_MM) ** 2 + (y - CENTRE_MM) ** 2 + (x - CENTRE_MM) ** 2 <= RADIUS_MM**2).astype(
        np.uint8
    )
    volume = add_volume(scene, np.zeros((31, 31, 31), np.int16))
    segmentation = Segmentation(labelmap, Geometry((31, 31, 31), (1, 1, 1)), (Label(1, "ball", (1, 2, 3)),))
    return add_alone(volume, segmentation, "ball")


def roughness(node):
    """The mean angle (degrees) between a triangle of the surface and the true ball."""
    surface = vtk.vtkPolyData()
    node.RemoveClosedSurfaceRepresentation()
    node.CreateClosedSurfaceRepresentation()
    node.GetClosedSurfaceRepresentation(node.GetSegmentation().GetNthSegmentID(0), surface)
    points = vtk_to_numpy(surface.GetPoints().GetData())
    corners = points[vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(axis=1) - CENTRE_MM
    cosine = (
        np.abs((normals * outward).sum(1)) / np.linalg.norm(normals, axis=1) / np.linalg.norm(outward, axis=1)
    )
    return np.degrees(np.arccos(np.clip(cosine, 0, 1))).mean()


def test_the_surface_of_a_result_is_smooth(ball):
    smooth = roughness(ball)
    name = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()
    ball.GetSegmentation().SetConversionParameter(name, "0.0")
    bricks = roughness(ball)
    assert smooth < 5
    assert bricks > 10
