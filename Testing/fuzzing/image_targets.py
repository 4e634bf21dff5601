"""Image files: NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mednext.geometry import Geometry
from mednext.volume import read_volume, write_image

from .targets import Target

GRID = Geometry((7, 6, 5), (1, 1.5, 2), (3, -4, 5))


def _voxels(kind: str) -> np.ndarray:
    return np.random.default_rng(0).normal(500, 90, GRID.shape).astype(kind)


def _nifti(folder: Path) -> list[Path]:
    paths = [folder / "short.nii", folder / "float.nii", folder / "packed.nii.gz"]
    for path, kind in zip(paths, ("int16", "float32", "int16"), strict=True):
        write_image(path, _voxels(kind), GRID)
    return paths


TARGETS = (Target("NIfTI", _nifti, read_volume),)
