"""One image as it was read from its file, before it becomes a channel of a volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .geometry import Geometry


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image as it was read from its file.

    Attributes:
        array: voxels `(Z, Y, X)`.
        geometry: their grid.
        warnings: sentences about everything doubtful in the file; they go with the volume to the user.
        dicom: the file of one of the slices; None for other formats.
    """

    array: np.ndarray
    geometry: Geometry
    warnings: tuple[str, ...] = ()
    dicom: Path | None = None
