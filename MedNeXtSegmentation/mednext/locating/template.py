"""The template of a model's location, at the resolutions of the registration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk

from ..images.formats.image_files import read_image, to_image
from ..library.folder_locations import resources_folder

LEVELS_MM = (8.0, 4.0)

_BRAIN = 10  # a template's voxels are 0 outside of the brain, and at most 255
# Around the brain the template is dark, as are cerebrospinal fluid and skull. In a head the scalp, which is
# bright, begins beyond a thin rim; around a brain without skull there is nothing, however far.
_RIM_MM = {"head": 8.0, "brain": 20.0}
RIMS = tuple(_RIM_MM)


@dataclass(frozen=True, eq=False)
class Template:
    """The template at one resolution.

    Attributes:
        image: float32, in its own space.
        masks: for a head and for a brain without skull, the voxels that are compared.
    """

    image: sitk.Image
    masks: dict[str, sitk.Image]


@cache
def template(name: str) -> dict[float, Template]:
    """The template at each of `LEVELS_MM`. Raises `CatalogError` for an incomplete installation."""
    read = read_image(resources_folder() / "Templates" / f"{name}.nii.gz")
    fine = sitk.Cast(to_image(read.array, read.geometry), sitk.sitkFloat32)
    margin = [int(np.ceil(max(_RIM_MM.values()) / spacing)) + 1 for spacing in fine.GetSpacing()]
    fine = sitk.ConstantPad(fine, margin, margin, 0.0)
    distance = sitk.SignedMaurerDistanceMap(fine > _BRAIN, squaredDistance=False, useImageSpacing=True)
    return {mm: _at(fine, distance, mm) for mm in LEVELS_MM}


def brain_centre(name: str) -> np.ndarray:
    """The middle of the template's brain, mm LPS."""
    level = template(name)[LEVELS_MM[0]]
    brain = sitk.GetArrayViewFromImage(level.image) > _BRAIN
    middle = np.argwhere(brain).mean(axis=0)[::-1]
    return np.array(level.image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))


def _at(fine: sitk.Image, distance: sitk.Image, mm: float) -> Template:
    factors = [round(mm / spacing) for spacing in fine.GetSpacing()]
    image = sitk.BinShrink(sitk.SmoothingRecursiveGaussian(fine, 0.3 * mm), factors)
    far = sitk.BinShrink(distance, factors)
    return Template(image, {rim: far < limit for rim, limit in _RIM_MM.items()})
