"""Volumes that the panel chooses by itself."""

from __future__ import annotations

from collections.abc import Sequence

from mednext.images.description.image_description import ImageDescription
from mednext.model.description import Channel

from ...scene.volumes.channel_matching import Volume, matchChannels
from ...scene.volumes.image_description import describe


class ChannelFilling:
    """Fills the channels that have no volume, and takes back what turns out to be something else.

    A volume is in the scene before its DICOM attributes are: what was chosen by its name alone may prove to
    be a T1 with contrast agent a moment later. What the user chose is left as it is.
    """

    def __init__(self) -> None:
        self._filled: dict[int, tuple[Volume, ImageDescription]] = {}

    def fill(
        self, channels: Sequence[Channel], chosen: Sequence[Volume | None], volumes: Sequence[Volume]
    ) -> list[Volume | None]:
        """A volume or None for each channel, given those that are chosen now."""
        kept = [node if not self._isOutdated(index, node) else None for index, node in enumerate(chosen)]
        matched = matchChannels(channels, kept, volumes)
        for index, (before, node) in enumerate(zip(kept, matched, strict=True)):
            if node is not None and before is None:
                self._filled[index] = node, describe(node)
        return matched

    def _isOutdated(self, index: int, node: Volume | None) -> bool:
        if node is None or index not in self._filled:
            return False
        filled, description = self._filled[index]
        return filled is node and describe(node) != description
