"""Make a `Volume` of an image that a client has sent."""

from __future__ import annotations

import numpy as np

from ..images.source_image import SourceImage
from ..images.volume import Volume


def received_volume(channel: SourceImage) -> Volume:
    """The image with the client's description and warnings; its voxels may stay mapped from their file."""
    return Volume(
        channel.array[np.newaxis],
        channel.geometry,
        (channel.name,),
        images=(channel.image,) if channel.image else (),
        warnings=channel.warnings,
    )
