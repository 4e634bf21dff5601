"""Where a result belongs: the volume, as it was when its voxels were taken."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk
from mednext.errors import GeometryError, InputError
from mednext.segmentation import Segmentation

from .found_volumes import keep_volumes
from .label_voxels import LabelVoxels, label_voxels
from .segmentation_node import add_segmentation_node
from .subject_hierarchy import place_beside


class ResultPlace:
    """Remembers the volumes of a run, so that a result never lands on another grid or on other voxels.

    The voxels are read from the nodes' own memory while Slicer goes on: where a script writes into them
    meanwhile, nobody knows what the network saw.
    """

    def __init__(self, channels: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> None:
        self._channels = list(channels)
        self._volume = channels[0]
        self._name = self._volume.GetName()
        self._grid = _grid(self._volume)
        self._written = [_last_written(channel) for channel in channels]
        self._voxels: LabelVoxels | None = None
        self._volumes_ml: dict[str, float] | None = None

    def prepare(self, segmentation: Segmentation) -> None:
        """Do what needs no scene, in the run's thread: `add` then takes milliseconds."""
        self._voxels = label_voxels(segmentation.labelmap)
        self._volumes_ml = segmentation.volumes_ml()

    def add(self, segmentation: Segmentation) -> slicer.vtkMRMLSegmentationNode:
        """Add the result as a new node on the volume's grid, beside it in its study.

        Raises `GeometryError` when the volume was removed, or its grid was changed meanwhile, and
        `InputError` when the voxels of a channel were.
        """
        if self._volume.GetScene() is None:
            raise GeometryError(f'"{self._name}" was removed from the scene while it was segmented.')
        if _grid(self._volume) != self._grid:
            raise GeometryError(
                f'The grid of "{self._name}" was changed while it was segmented: segment it again.'
            )
        for channel, written in zip(self._channels, self._written, strict=True):
            if _last_written(channel) != written:
                raise InputError(
                    f'The voxels of "{channel.GetName()}" were changed while it was segmented: '
                    "segment it again."
                )
        name = f"{self._volume.GetName()} segmentation"
        node = add_segmentation_node(self._volume, segmentation, name, self._voxels)
        keep_volumes(node, self._volumes_ml or segmentation.volumes_ml())
        place_beside(node, self._volume)
        return node


def _last_written(volume: slicer.vtkMRMLScalarVolumeNode) -> int:
    """VTK's time of the last change of the voxels."""
    image = volume.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    return scalars.GetMTime() if scalars else 0


def _grid(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, ...]:
    """Dimensions and IJK to RAS without the parent transform, which the result will share."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image = volume.GetImageData()
    return (*(image.GetDimensions() if image else ()), *slicer.util.arrayFromVTKMatrix(matrix).ravel())
