"""One image before it becomes a channel of a volume, as a client hands it over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .description.image_description import ImageDescription
from .geometry import Geometry


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One input image: `array` `(Z, Y, X)` of any real voxel type, on `geometry`; `name` is for messages,
    `image` describes it, `warnings` are the doubts about its file.

    `writing_request` also takes `exchange.Planes`.
    """

    name: str
    array: np.ndarray
    geometry: Geometry
    image: ImageDescription | None = None
    warnings: tuple[str, ...] = ()


def kept_type(dtype: np.dtype) -> np.dtype:
    """The type in which voxels are kept: small integers as they are, to save memory, others as float32."""
    return dtype if dtype in (np.uint8, np.int16) else np.dtype(np.float32)
