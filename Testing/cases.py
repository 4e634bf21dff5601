"""Folders with small cases for tests of batches: good ones, and all kinds of bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mednext.formats.image_files import write_image
from mednext.geometry import Geometry

SHAPE = (18, 20, 22)


def noise(seed: int = 0) -> np.ndarray:
    """Voxels `(Z, Y, X)` that a network sees something in."""
    return np.random.default_rng(seed).normal(500, 150, SHAPE).astype(np.float32)


def add_image(path: Path, seed: int = 0, voxels: np.ndarray | None = None) -> Path:
    """Write an image of 22 x 20 x 18 voxels at 1 mm, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = noise(seed) if voxels is None else voxels
    write_image(path, array, Geometry((22, 20, 18), (1.0, 1.0, 1.0), (-10.0, -12.0, 5.0)))
    return path


def add_truncated(path: Path) -> Path:
    """An image whose last half is missing."""
    add_image(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def add_with_nan(path: Path) -> Path:
    """An image with a voxel that is no number."""
    voxels = noise()
    voxels[3, 4, 5] = np.nan
    return add_image(path, voxels=voxels)
