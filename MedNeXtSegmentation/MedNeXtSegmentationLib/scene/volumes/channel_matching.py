"""Assignment of volumes to the channels of a model by names and DICOM attributes; in doubt none."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from mednext.inputs.channel_matching import match_descriptions
from mednext.model.description import Channel

from .image_description import describe

Volume = slicer.vtkMRMLScalarVolumeNode


def matchChannels(
    channels: Sequence[Channel], chosen: Sequence[Volume | None], volumes: Sequence[Volume]
) -> list[Volume | None]:
    """A volume for each channel, as `match_descriptions` finds them; None where none fits beyond doubt."""
    places: list[int | None] = [volumes.index(node) if node in volumes else None for node in chosen]
    taken = [index for index, node in enumerate(chosen) if node is not None]
    matched = match_descriptions(channels, places, [describe(volume) for volume in volumes], taken)
    return [
        chosen[index] if index in taken else None if place is None else volumes[place]
        for index, place in enumerate(matched)
    ]
