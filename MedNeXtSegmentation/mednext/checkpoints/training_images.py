"""What the headers of the training images tell: how they are stored, and how much of a patient they show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import CheckpointError
from ..formats.nifti_header import SUFFIXES, check_nifti
from ..geometry import Geometry


def training_grids(folder: Path) -> Iterator[tuple[Path, Geometry]]:
    """The file and the grid of each image in a folder, by name; the voxels are not read.

    Raises:
        CheckpointError: there are no images, or one cannot be read or has not three dimensions.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    images = [path for path in files if path.name.lower().endswith((*SUFFIXES, ".nrrd", ".mha", ".mhd"))]
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
    if path.name.lower().endswith(SUFFIXES):
        check_nifti(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as cause:
        raise CheckpointError(
            f"{path} is not an image that can be read. Remove it from the folder."
        ) from cause
    if reader.GetDimension() != 3:
        raise CheckpointError(f"{path} has {reader.GetDimension()} dimensions, but must have 3.")
    return Geometry.from_image(reader)
