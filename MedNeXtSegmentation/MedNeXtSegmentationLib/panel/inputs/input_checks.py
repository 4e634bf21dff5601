"""What can be said about the chosen volumes before anything runs: in milliseconds, however large they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from mednext.errors import MedNeXtError
from mednext.field_of_view import part_of, size_warning
from mednext.geometry import Geometry
from mednext.grid_checks import check_grid, check_overlap, spacing_warning, tilt_degrees
from mednext.model import Model
from slicer.i18n import tr as _

from ...scene.image_description import ImageDescription, describe
from ...scene.roi_from_node import roi_from_node
from ...scene.volume_from_node import channels_from_nodes
from ...scene.voxel_sample import VoxelSample, voxel_sample
from .image_checks import checkValues, imageWarnings

_TILTED_DEGREES = 25.0


@dataclass(frozen=True)
class Checks:
    """problem: why nothing can be segmented, or "". warnings: sentences that the user should know."""

    problem: str = ""
    warnings: tuple[str, ...] = ()


def checkInputs(
    model: Model,
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode | None],
    roi: slicer.vtkMRMLMarkupsROINode | None,
) -> Checks:
    """Look at the volumes' headers, at where they lie, and at a sample of their voxels.

    A problem is what surely fails; everything else is a warning, since the user may know better.
    """
    missing = [channel.name for channel, node in zip(model.channels, nodes, strict=True) if node is None]
    if missing:
        return Checks(_("Choose a volume for {channels}.").format(channels=", ".join(missing)))
    try:
        grids = [channel.geometry for channel in channels_from_nodes(nodes)]
        samples = [voxel_sample(node) for node in nodes]
        for node, grid, sample in zip(nodes, grids, samples, strict=True):
            check_grid(grid, f'"{node.GetName()}"')
            checkValues(node, sample)
        region = roi_from_node(roi, nodes[0]) if roi else None
        if region:
            region.box_in(grids[0])
        seen = grids[0].cropped(part_of(grids[0], model, region))
        apart = list(_apart(nodes, grids, samples))
    except MedNeXtError as error:
        return Checks(str(error))
    images = [describe(node) for node in nodes]
    warnings = [
        warning
        for channel, image, sample in zip(model.channels, images, samples, strict=True)
        for warning in imageWarnings(channel, image, sample)
    ]
    warnings += [*_examinations(images), *apart]
    warnings += [spacing_warning(grids[0], model, f'"{images[0].name}"'), size_warning(seen, model)]
    return Checks(warnings=tuple(filter(None, warnings)))


def _examinations(images: Sequence[ImageDescription]) -> Iterator[str]:
    """Whether the images are of one patient and one study."""
    if len({image.patient for image in images} - {""}) > 1:
        yield _("The images are of different patients.")
    elif len({image.study for image in images} - {""}) > 1:
        yield _("The images are of different studies: the network expects them to be of one day.")


def _apart(
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
    grids: Sequence[Geometry],
    samples: Sequence[VoxelSample],
) -> Iterator[str]:
    """What does not go together in space, or goes together too well.

    Raises `GeometryError` for channels that hardly overlap.
    """
    first = f'"{nodes[0].GetName()}"'
    for index in range(1, len(nodes)):
        name = f'"{nodes[index].GetName()}"'
        yield check_overlap(grids[index], grids[0], name, first)
        tilt = tilt_degrees(grids[index], grids[0])
        if tilt > _TILTED_DEGREES:
            yield _("{name} is tilted by {tilt:.0f}° against {first}: are they registered?").format(
                name=name, tilt=tilt, first=first
            )
        for earlier in range(index):
            if _same(samples[index], samples[earlier]):
                yield _('{name} and "{other}" have the same voxels: choose one image for each.').format(
                    name=name, other=nodes[earlier].GetName()
                )


def _same(sample: VoxelSample, other: VoxelSample) -> bool:
    return sample.values.size == other.values.size and bool(np.array_equal(sample.values, other.values))
