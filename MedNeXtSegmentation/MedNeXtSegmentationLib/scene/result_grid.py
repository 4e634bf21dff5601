"""The grid on which a result is kept: the volume's own, or that of a segmentation which is there already."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from mednext.errors import GeometryError, OptionError
from mednext.geometry import Geometry

from .label_voxels import LabelVoxels, label_voxels
from .segment_layers import has_labelmaps

_WHOLE_VOXELS = 0.01  # a shift this near to whole voxels is one; files round
_MOST_VOXELS = 2**31


@dataclass(frozen=True, eq=False)
class ResultGrid:
    """`ijk_to_ras` of the grid, and `from_volume`, the 4x4 matrix from the volume's indices to the grid's."""

    ijk_to_ras: np.ndarray
    from_volume: np.ndarray

    @property
    def shift(self) -> np.ndarray | None:
        """How many voxels (i, j, k) the volume's grid is shifted; None when it is another grid."""
        shift = np.round(self.from_volume[:3, 3])
        same = np.abs(self.from_volume[:3] - np.column_stack([np.eye(3), shift])).max(axis=0)
        return shift.astype(int) if (same < (1e-5, 1e-5, 1e-5, _WHOLE_VOXELS)).all() else None

    def same_as(self, other: ResultGrid) -> bool:
        """Whether nothing was moved since."""
        return np.allclose(self.ijk_to_ras, other.ijk_to_ras) and np.allclose(
            self.from_volume, other.from_volume
        )

    def place(self, labelmap: np.ndarray) -> LabelVoxels:
        """What was found in a labelmap `(Z, Y, X)` of the volume, on this grid; in any thread.

        On another grid every voxel gets the label of the nearest voxel. Voxels may lie outside of the grid's
        own extent: what was found is never cut off.
        """
        found = label_voxels(labelmap)
        shift = self.shift
        if shift is None:
            return self._resampled(found, labelmap)
        k, j, i = (
            slice(axis.start + n, axis.stop + n)
            for axis, n in zip(found.box, shift[::-1].tolist(), strict=True)
        )
        return LabelVoxels((k, j, i), found.scalars)

    def _resampled(self, found: LabelVoxels, labelmap: np.ndarray) -> LabelVoxels:
        import SimpleITK as sitk  # here: Slicer loads this file when it starts

        lower, upper = _bounds(found, self.from_volume)
        size = upper - lower + 1
        if np.prod(size.astype(float)) > _MOST_VOXELS:
            raise GeometryError(
                "On the grid of the chosen segmentation the result would have "
                f"{' x '.join(map(str, size))} voxels: choose a new segmentation."
            )
        to_volume = np.linalg.inv(self.from_volume)
        transform = sitk.AffineTransform(to_volume[:3, :3].ravel().tolist(), to_volume[:3, 3].tolist())
        image = sitk.GetImageFromArray(labelmap[found.box])
        image.SetOrigin([float(axis.start) for axis in reversed(found.box)])
        resampled = sitk.Resample(
            image, size.tolist(), transform, sitk.sitkNearestNeighbor, lower.astype(float).tolist()
        )
        placed = label_voxels(sitk.GetArrayViewFromImage(resampled))
        k, j, i = (
            slice(axis.start + n, axis.stop + n)
            for axis, n in zip(placed.box, lower[::-1].tolist(), strict=True)
        )
        return LabelVoxels((k, j, i), placed.scalars)


def grid_of_volume(volume: slicer.vtkMRMLScalarVolumeNode) -> ResultGrid:
    """The grid of a new segmentation, under the volume's parent transform."""
    return ResultGrid(ijk_to_ras_of(volume), np.eye(4))


def grid_in_segmentation(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> ResultGrid:
    """The grid on which the segments of `node` are drawn, and where the volume lies in it.

    Raises `OptionError` for a segmentation whose segments are no labelmaps, and for the frame of a sequence
    of segmentations; `GeometryError` when a non-linear or shearing transform lies between the two.
    """
    segmentation = node.GetSegmentation()
    if not has_labelmaps(segmentation):
        raise OptionError(
            f'The segments of "{node.GetName()}" are surfaces or contours, no labelmaps: choose a new '
            "segmentation, or convert it in the module Segmentations."
        )
    if slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node) is not None:
        raise OptionError(
            f'"{node.GetName()}" shows one frame of a sequence, and Undo could meet another: choose a new '
            "segmentation."
        )
    ijk_to_node = _lattice(segmentation)
    volume_ijk_to_node = np.linalg.inv(segmentation_to_volume(node, volume)) @ ijk_to_ras_of(volume)
    if ijk_to_node is None:
        Geometry.from_ijk_to_ras(volume_ijk_to_node, (1, 1, 1))  # refuses a sheared grid
        return ResultGrid(volume_ijk_to_node, np.eye(4))
    return ResultGrid(ijk_to_node, np.linalg.inv(ijk_to_node) @ volume_ijk_to_node)


def segmentation_to_volume(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """The 4x4 matrix from the segmentation's own space to the volume's, through both parent transforms.

    Raises `GeometryError` when a non-linear transform lies between the two.
    """
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        node.GetParentTransformNode(), volume.GetParentTransformNode(), matrix
    ):
        raise GeometryError(
            f'There is a non-linear transform between "{volume.GetName()}" and the segmentation '
            f'"{node.GetName()}": choose a new segmentation, or harden the transform.'
        )
    return slicer.util.arrayFromVTKMatrix(matrix)


def set_reference(
    node: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    image: slicer.vtkOrientedImageData,
) -> None:
    """Let the node's reference geometry hold a new labelmap: outside of it nothing can be edited."""
    segmentation = node.GetSegmentation()
    if _lattice(segmentation) is None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    reference = _reference_geometry(segmentation)
    if reference is None:  # Slicer takes the grid of the segments, whatever their extent
        return
    sides = zip(reference.GetExtent(), image.GetExtent(), strict=True)
    both = [max(pair) if side % 2 else min(pair) for side, pair in enumerate(sides)]
    if list(reference.GetExtent()) != both:
        reference.SetExtent(both)
        segmentation.SetConversionParameter(
            slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
            slicer.vtkSegmentationConverter.SerializeImageGeometry(reference),
        )


def _lattice(segmentation: slicer.vtkSegmentation) -> np.ndarray | None:
    """The IJK to RAS matrix of a segmentation's voxels; None when it has none."""
    image = _reference_geometry(segmentation)
    if image is None:
        name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
        images = (
            segmentation.GetSegment(each).GetRepresentation(name) for each in segmentation.GetSegmentIDs()
        )
        image = next((each for each in images if each is not None and not each.IsEmpty()), None)
    if image is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _reference_geometry(segmentation: slicer.vtkSegmentation) -> slicer.vtkOrientedImageData | None:
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentation.GetConversionParameter(parameter)
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return None
    return image


def ijk_to_ras_of(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """The 4x4 matrix from the volume's indices to its own space, without the parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _bounds(found: LabelVoxels, from_volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last index (i, j, k) of the grid that a box of the volume can reach."""
    edges = [(axis.start - 0.5, axis.stop - 0.5) for axis in reversed(found.box)]
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*edges)]) @ from_volume[:3].T
    return np.ceil(corners.min(axis=0)).astype(int), np.floor(corners.max(axis=0)).astype(int)
