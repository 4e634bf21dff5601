"""An image that a client has sent, as the pipeline takes it."""

from __future__ import annotations

import numpy as np

from .protocol import Channel
from .volume import Volume


def sent_volume(channel: Channel) -> Volume:
    """The image with all that the client knows of it; its voxels may stay mapped from their file."""
    return Volume(
        channel.array[np.newaxis],
        channel.geometry,
        (channel.name,),
        images=(channel.image,) if channel.image else (),
        warnings=channel.warnings,
    )
