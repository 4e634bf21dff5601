"""One image as a client gives it: its voxels on a grid, and everything else that is known about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .description.image_description import ImageDescription
from .geometry import Geometry


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One input image: `array` `(Z, Y, X)` of any real voxel type, on `geometry`; `name` is for messages,
    `image` is what else is known about it, `warnings` tell what is doubtful in its file.

    `write_request` also takes `voxel_files.Planes`.
    """

    name: str
    array: np.ndarray
    geometry: Geometry
    image: ImageDescription | None = None
    warnings: tuple[str, ...] = ()
