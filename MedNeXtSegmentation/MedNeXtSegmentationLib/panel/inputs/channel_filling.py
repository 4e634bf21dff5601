"""Automatic choice of volumes for the channels of a model."""

from __future__ import annotations

from collections.abc import Sequence

from mednext.images.description.image_description import ImageDescription
from mednext.model.description import Channel

from ...scene.volumes.channel_matching import Volume, matchChannels
from ...scene.volumes.image_description import describe


class ChannelFilling:
    """Fills the channels without a volume, and corrects its choice when a volume's description changes.

    A volume enters the scene before its DICOM attributes. One chosen by its name may a moment later prove to
    be a T1 with contrast agent. Choices of the user stay.
    """

    def __init__(self) -> None:
        self._filled: dict[int, tuple[Volume, ImageDescription]] = {}

    def fill(
        self, channels: Sequence[Channel], chosen: Sequence[Volume | None], volumes: Sequence[Volume]
    ) -> list[Volume | None]:
        """A volume or None for each channel, given the present choices."""
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
