"""One image before it becomes a channel of a volume: as read from its file, or as a client hands it over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .description.image_description import ImageDescription
from .geometry import Geometry


@dataclass(frozen=True, eq=False)
class ReadImage:
    """Voxels `array` `(Z, Y, X)` of a file on `geometry`.

    `warnings` are sentences about everything doubtful in the file, for the user. `dicom` is the file of one
    of the slices, None for other formats.
    """

    array: np.ndarray
    geometry: Geometry
    warnings: tuple[str, ...] = ()
    dicom: Path | None = None


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
