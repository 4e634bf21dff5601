"""An image at the resolutions of the registration, with intensities between 0 and 1."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import LocationError
from ..images.formats.image_files import to_image
from ..images.geometry import Geometry
from .template import LEVELS_MM
from .whole_image import bin_factors

_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles
_LEAST_VOXELS = 4  # along an axis, for recursive filters


def levels(array: np.ndarray, geometry: Geometry) -> dict[float, sitk.Image]:
    """One channel `(Z, Y, X)` at each of `LEVELS_MM`, on cubic voxels along its own axes.

    Raises `LocationError` for an image without contrast.
    """
    image = sitk.Cast(to_image(array, geometry), sitk.sitkFloat32)
    image = _stretched(sitk.BinShrink(image, bin_factors(image.GetSpacing())))
    return {mm: _at(image, mm) for mm in LEVELS_MM}


def _stretched(image: sitk.Image) -> sitk.Image:
    """The image with its usual intensities spread over [0, 1], and others clipped."""
    values = sitk.GetArrayViewFromImage(image)
    some = values[tuple(slice(None, None, 2 if side > 2 * _LEAST_VOXELS else 1) for side in values.shape)]
    some = some[np.isfinite(some)]
    low = float(np.percentile(some, _DARKEST)) if some.size else 0.0
    bright = some[some > low]
    high = float(np.percentile(bright, _BRIGHTEST)) if bright.size else low
    if not high > low:
        raise LocationError(
            "The image has the same intensity everywhere, so that nothing can be found in it: check it."
        )
    return sitk.Clamp((image - low) / (high - low), sitk.sitkFloat32, 0.0, 1.0)


def _at(image: sitk.Image, mm: float) -> sitk.Image:
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    smooth = image
    for axis in range(3):
        if spacing[axis] < mm and size[axis] >= _LEAST_VOXELS:
            smooth = sitk.RecursiveGaussian(smooth, sigma=0.4 * mm, direction=axis)
    count = np.maximum(1, np.round(size * spacing / mm)).astype(int)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    direction = np.reshape(image.GetDirection(), (3, 3))
    grid = sitk.Image(count.tolist(), sitk.sitkFloat32)
    grid.SetSpacing([mm] * 3)
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin((middle - direction @ ((count - 1) / 2 * mm)).tolist())
    return sitk.Resample(
        smooth, grid, sitk.Transform(), sitk.sitkLinear, 0.0, useNearestNeighborExtrapolator=True
    )
