"""Whether ITK, through which nnU-Net reads its images, has the same grid from a file as the engine has."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk
from mednext.errors import InputError
from mednext.images.formats.image_files import read_header
from mednext.images.geometry import Geometry
from mednext.images.itk_paths import path_for_itk

from .case_check import CheckedCase, described


def itk_sees(path: Path, grid: Geometry) -> bool:
    """True if ITK reads this grid from the header of a file."""
    seen = _seen(path)
    return seen is not None and seen.close_to(grid)


def check_itk(case: CheckedCase) -> None:
    """Add a problem to a case of which nnU-Net would see an image or its labels on another grid."""
    for path in (*case.found.images, case.found.label):
        if path is None:
            continue
        try:
            grid = read_header(path).geometry
        except InputError:
            continue  # which the case is told already
        if not itk_sees(path, grid):
            seen = _seen(path)
            told = "nothing" if seen is None else described(seen)
            case.problems.append(
                f"{path} has {described(grid)}, but nnU-Net would read {told}: bring it into a form that "
                "both read alike ('mednext-train convert own')."
            )


def _seen(path: Path) -> Geometry | None:
    reader = sitk.ImageFileReader()
    try:
        with path_for_itk(path) as file:
            reader.SetFileName(file)
            reader.ReadImageInformation()
            return Geometry.from_image(reader)
    except (RuntimeError, InputError):
        return None
