"""One image as read from its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
