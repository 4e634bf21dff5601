"""The grid of a segmentation's voxels: the volume's own, or that of an existing segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from mednext.errors import GeometryError, OptionError
from mednext.images.geometry import Geometry
from mednext.worker.scene.label_placement import placed

from ..matrices import ijk_to_ras_of, image_to_ras_of, transform_between
from .label_voxels import LabelVoxels, copy_for_vtk
from .shared_labelmaps import has_labelmaps


@dataclass(frozen=True, eq=False)
class SegmentationGrid:
    """A grid with its matrix `ijk_to_ras`; `from_volume` maps the volume's indices to its own (both 4x4)."""

    ijk_to_ras: np.ndarray
    from_volume: np.ndarray

    @classmethod
    def of_matrix(cls, ijk_to_ras: vtk.vtkMatrix4x4) -> SegmentationGrid:
        """A grid in its own space."""
        return cls(slicer.util.arrayFromVTKMatrix(ijk_to_ras), np.eye(4))

    def same_as(self, other: SegmentationGrid) -> bool:
        """Whether the other grid lies at the same place."""
        return np.allclose(self.ijk_to_ras, other.ijk_to_ras) and np.allclose(
            self.from_volume, other.from_volume
        )

    def place(self, labelmap: np.ndarray) -> LabelVoxels:
        """All labels of a labelmap `(Z, Y, X)` of the volume, on this grid; see `placed`."""
        box, voxels = placed(labelmap, self.from_volume)
        return LabelVoxels(box, copy_for_vtk(voxels))


def grid_of_volume(volume: slicer.vtkMRMLScalarVolumeNode) -> SegmentationGrid:
    """The grid of a new segmentation, under the volume's parent transform."""
    return SegmentationGrid(ijk_to_ras_of(volume), np.eye(4))


def grid_in_segmentation(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> SegmentationGrid:
    """The grid of the segments of `node`, and the place of the volume in it.

    Raises `OptionError` for a segmentation of surfaces or contours, and for the frame of a sequence of
    segmentations; `GeometryError` when a non-linear or shearing transform lies between the two.
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
        return SegmentationGrid(volume_ijk_to_node, np.eye(4))
    return SegmentationGrid(ijk_to_node, np.linalg.inv(ijk_to_node) @ volume_ijk_to_node)


def segmentation_to_volume(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """The 4x4 matrix from the segmentation's own space to the volume's, through both parent transforms.

    Raises `GeometryError` when a non-linear transform lies between the two.
    """
    matrix = transform_between(node.GetParentTransformNode(), volume.GetParentTransformNode())
    if matrix is None:
        raise GeometryError(
            f'There is a non-linear transform between "{volume.GetName()}" and the segmentation '
            f'"{node.GetName()}": choose a new segmentation, or harden the transform.'
        )
    return matrix


def set_reference(
    node: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    image: slicer.vtkOrientedImageData,
) -> None:
    """Extend the node's reference geometry to hold a new labelmap: Slicer edits nothing outside of it."""
    segmentation = node.GetSegmentation()
    if _lattice(segmentation) is None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    reference = _reference_geometry(segmentation)
    if reference is None:  # Slicer uses the grid of the segments, of any extent
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
    return None if image is None else image_to_ras_of(image)


def _reference_geometry(segmentation: slicer.vtkSegmentation) -> slicer.vtkOrientedImageData | None:
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentation.GetConversionParameter(parameter)
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return None
    return image
