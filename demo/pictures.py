"""Draw the demo's picture: three slices and the surfaces, by Slicer's own displayable managers."""

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
    low, high = bounds_of(segmentation, volume)
    field_of_view_mm = float((high - low).max()) + 2 * MARGIN_MM
    middle = (low + high) / 2
    # A sagittal slice midway between two hippocampi would show neither.
    through_one = next(reversed(centres_of_segments(segmentation)), middle)
    centres = {"Axial": middle, "Coronal": middle, "Sagittal": through_one}
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


def bounds_of(
    segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest corner (mm, RAS) of all segments; of the volume if nothing was found."""
    bounds = [0.0] * 6
    node = segmentation if centres_of_segments(segmentation) else volume
    node.GetRASBounds(bounds)
    return np.array(bounds[0::2]), np.array(bounds[1::2])


def centres_of_segments(segmentation: slicer.vtkMRMLSegmentationNode) -> list[np.ndarray]:
    """The centres (mm, RAS) of the segments that have voxels."""
    centres = [
        segmentation.GetSegmentCenterRAS(name) for name in segmentation.GetSegmentation().GetSegmentIDs()
    ]
    return [np.array(centre) for centre in centres if centre is not None]
