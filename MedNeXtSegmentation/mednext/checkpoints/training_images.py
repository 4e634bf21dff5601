"""Read orientation and extent of the training images from their headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, InputError
from ..images.formats.image_files import read_header
from ..images.formats.readable import format_named
from ..images.geometry import Geometry


def training_grids(folder: Path) -> Iterator[tuple[Path, Geometry]]:
    """The file and the grid of each image in a folder, by name; the voxels are not read.

    Raises:
        CheckpointError: there are no images, or one cannot be read or has not three dimensions.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    images = [path for path in files if format_named(path.name)]
    if not images:
        raise CheckpointError(f"There are no images in {folder}. Give the folder of the training images.")
    for path in images:
        yield path, _grid(path)


def largest_field_of_view(folder: Path, orientation: str) -> tuple[float, float, float]:
    """The largest extent of the images in a folder, in mm along z, y, x of `orientation`.

    Raises:
        CheckpointError: there are no images, or one cannot be read.
    """
    grids = [grid.reoriented(orientation) for _, grid in training_grids(folder)]
    x, y, z = (float(extent) for extent in np.max([np.multiply(g.size, g.spacing) for g in grids], axis=0))
    return z, y, x


def _grid(path: Path) -> Geometry:
    try:
        return read_header(path).geometry
    except InputError as cause:
        raise CheckpointError(f"{cause} Or remove it from the folder of the training images.") from cause
