"""Which volume belongs to which channel, judged by the names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import slicer


def matchChannels(
    channels: Sequence[str],
    chosen: Sequence[slicer.vtkMRMLScalarVolumeNode | None],
    volumes: Sequence[slicer.vtkMRMLScalarVolumeNode],
) -> list[slicer.vtkMRMLScalarVolumeNode | None]:
    """A volume for each channel that has none chosen, each volume once.

    A channel gets the first volume that has its name as a word in its own; "T2" does not match "T2FLAIR",
    nor a "T2 FLAIR" that the channel FLAIR takes. The first channel takes the first free volume otherwise.
    """
    matched = list(chosen)
    by_length = sorted(range(len(channels)), key=lambda index: -len(channels[index]))
    for index in by_length:
        if matched[index] is None:
            free = [volume for volume in volumes if volume not in matched]
            named = (volume for volume in free if _isNamed(volume.GetName() or "", channels[index]))
            matched[index] = next(named, None)
    if matched and matched[0] is None:
        matched[0] = next((volume for volume in volumes if volume not in matched), None)
    return matched


def _isNamed(name: str, channel: str) -> bool:
    """Whether a channel's name is a word of a node's name; "T1w" is "T1" too."""
    word = rf"(?<![a-z0-9]){re.escape(channel.casefold())}w?(?![a-z0-9])"
    return re.search(word, name.casefold()) is not None
