"""What can be said about the chosen volumes before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import slicer
from mednext.errors import MedNeXtError
from mednext.field_of_view import part_of, size_warning
from mednext.model import Model
from slicer.i18n import tr as _

from ..scene.roi_from_node import roi_from_node
from ..scene.volume_from_node import channels_from_nodes


@dataclass(frozen=True)
class Checks:
    """problem: why nothing can be segmented, or "". warning: what the user should know, or ""."""

    problem: str = ""
    warning: str = ""


def checkInputs(
    model: Model,
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode | None],
    roi: slicer.vtkMRMLMarkupsROINode | None,
) -> Checks:
    """Look at everything but the voxels: milliseconds, however large the volumes are."""
    missing = [channel.name for channel, node in zip(model.channels, nodes, strict=True) if node is None]
    if missing:
        return Checks(_("Choose a volume for {channels}.").format(channels=", ".join(missing)))
    try:
        grid = channels_from_nodes(nodes)[0].geometry
        region = roi_from_node(roi, nodes[0]) if roi else None
        if region:
            region.box_in(grid)
        part = part_of(grid, model, region)
    except MedNeXtError as error:
        return Checks(str(error))
    return Checks(warning=size_warning(grid.cropped(part), model))
