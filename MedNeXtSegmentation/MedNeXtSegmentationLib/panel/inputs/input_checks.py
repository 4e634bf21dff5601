"""Checks of the chosen volumes before a run, in milliseconds for any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import slicer
from mednext.errors import MedNeXtError
from mednext.images.geometry import Geometry
from mednext.images.plausible_grids import check_grid, check_overlap
from mednext.inference.field_of_view import part_of, size_warning
from mednext.inference.options import Options
from mednext.inputs.image_doubts import check_values
from mednext.inputs.input_doubts import InputImage, check_inputs
from mednext.locating.whole_image import wants_boxes
from mednext.model.description import Model
from slicer.i18n import tr as _

from ...scene.volumes.channels_from_nodes import channels_from_nodes
from ...scene.volumes.image_description import describe
from ...scene.volumes.roi_from_node import roi_from_node
from ...scene.volumes.voxel_sample import voxel_sample


@dataclass(frozen=True)
class Checks:
    """The findings on the chosen volumes.

    problem: the reason why nothing can be segmented, or "".
    warnings: sentences for the user.
    doubts: those of the warnings for which the volumes are refused unless the user insists.
    """

    problem: str = ""
    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def checkInputs(
    model: Model,
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode | None],
    roi: slicer.vtkMRMLMarkupsROINode | None,
) -> Checks:
    """Check the volumes' headers, their places, and a sample of their voxels.

    Certain failures are problems; everything else is a warning, since the user may know better.
    """
    missing = [channel.name for channel, node in zip(model.channels, nodes, strict=True) if node is None]
    if missing:
        return Checks(_("Choose a volume for {channels}.").format(channels=", ".join(missing)))
    try:
        channels = channels_from_nodes(nodes)
        grids = [channel.geometry for channel in channels]
        samples = [voxel_sample(node) for node in nodes]
        for node, grid, sample in zip(nodes, grids, samples, strict=True):
            check_grid(grid, f'"{node.GetName()}"')
            check_values(node.GetName(), sample)
        region = roi_from_node(roi, nodes[0]) if roi else None
        if region:
            region.box_in(grids[0])
        seen = grids[0].cropped(part_of(grids[0], model, region))
        overlaps = _overlaps(nodes, grids)
    except MedNeXtError as error:
        return Checks(str(error))
    inputs = [
        InputImage(describe(node), grid, sample)
        for node, grid, sample in zip(nodes, grids, samples, strict=True)
    ]
    found = check_inputs(model, inputs)
    told = [warning for channel in channels for warning in channel.warnings]
    size = "" if wants_boxes(model, grids[0], Options(roi=region)) else size_warning(seen, model)
    warnings = filter(None, [*told, *found.warnings, *overlaps, size])
    return Checks("", tuple(warnings), tuple(doubt.sentence for doubt in found.doubts if doubt.certain))


def _overlaps(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode], grids: Sequence[Geometry]) -> list[str]:
    """Sentences on channels that cover only a part of the first; `GeometryError` for a too small part."""
    names = [f'"{node.GetName()}"' for node in nodes]
    return [
        check_overlap(grid, grids[0], name, names[0]) for name, grid in zip(names[1:], grids[1:], strict=True)
    ]
