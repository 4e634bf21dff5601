"""Slicer's own displayable managers show the module's results."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.scene.segmentation_nodes import add_alone
from fixtures.scene.volume_nodes import add_volume
from mednext.images.geometry import Geometry
from mednext.model.labels import Label
from mednext.segmentation.result import Segmentation
from slicer_standin.views import SliceView, ThreeDView

GREEN = (40, 200, 80)


@pytest.fixture
def shown(scene):
    """An even grey volume of 30 mm and a segmentation with a cube of 10 mm in its middle."""
    volume = add_volume(scene, np.full((30, 30, 30), 100, np.int16))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    labelmap = np.zeros((30, 30, 30), np.uint8)
    labelmap[10:20, 10:20, 10:20] = 1
    segmentation = Segmentation(labelmap, Geometry((30, 30, 30), (1, 1, 1)), (Label(1, "cube", GREEN),))
    return volume, add_alone(volume, segmentation, "cube")


def test_a_slice_shows_the_segment_half_transparent_over_the_image(shown):
    volume, _ = shown
    view = SliceView(slicer_standin.start(), "TestSlice", "Axial", (300, 300))
    view.show(volume)
    view.centre((14.5, 14.5, 14.5), 30)
    picture = view.image().astype(int)
    grey = picture[30, 30]
    assert np.ptp(grey) == 0
    assert picture[150, 150] == pytest.approx((np.array(GREEN) + grey) / 2, abs=12)


def test_a_3d_view_shows_the_surface_in_the_segments_colour(shown):
    _, node = shown
    node.CreateClosedSurfaceRepresentation()
    view = ThreeDView(slicer_standin.start(), (300, 300))
    view.look(from_ras=(0, 1, 0))
    red, green, blue = view.image()[150, 150].astype(int)
    assert green > 1.5 * red
    assert green > 1.5 * blue


def test_the_patients_right_is_on_the_left_of_an_axial_slice(scene):
    voxels = np.zeros((30, 30, 30), np.int16)
    voxels[:, :, 20:] = 200
    volume = add_volume(scene, voxels)
    volume.CreateDefaultDisplayNodes()
    view = SliceView(slicer_standin.start(), "TestSides", "Axial", (300, 300))
    view.show(volume)
    picture = view.image().astype(int)
    assert picture[:, :100].mean() > picture[:, 200:].mean()
    assert slicer.util.arrayFromVolume(volume)[15, 15, 25] == 200
