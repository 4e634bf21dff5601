"""The demo's picture: three slices and the surfaces, drawn by Slicer's own displayable managers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from slicer_standin import Core
from slicer_standin.views import SliceView, ThreeDView, write_png

SIDE_PX = 500
MARGIN_MM = 30.0


def draw(
    core: Core,
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    file: Path,
) -> None:
    """Write a picture of axial, coronal and sagittal slices through the segments, and of their surfaces."""
    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    low, high = np.array(bounds[0::2]), np.array(bounds[1::2])
    field_of_view_mm = float((high - low).max()) + 2 * MARGIN_MM
    middle = (low + high) / 2
    # Midway between two hippocampi a sagittal slice would show neither.
    centres = {"Axial": middle, "Coronal": middle, "Sagittal": centre_of_last_segment(segmentation)}
    tiles = []
    for orientation, centre in centres.items():
        view = SliceView(core, f"Demo{orientation}", orientation, (SIDE_PX, SIDE_PX))
        view.show(volume)
        view.centre(tuple(centre), field_of_view_mm)
        view.show_orientation()
        tiles.append(view.image())
    view_3d = ThreeDView(core, (SIDE_PX, SIDE_PX))
    view_3d.show_orientation()
    view_3d.look(from_ras=(0.4, 1.0, 0.8))
    tiles.append(view_3d.image())
    write_png(file, np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]))


def centre_of_last_segment(segmentation: slicer.vtkMRMLSegmentationNode) -> np.ndarray:
    """Its centre (mm, RAS)."""
    segments = segmentation.GetSegmentation()
    return np.array(
        segmentation.GetSegmentCenterRAS(segments.GetNthSegmentID(segments.GetNumberOfSegments() - 1))
    )
