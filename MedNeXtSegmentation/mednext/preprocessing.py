"""From a volume to what the network sees: crop to the non-zero box, resample, normalise.

The two pipelines differ in the order of the last two steps: `nnunet_v1` resamples first, `nnunet_v2`
normalises first. Everything else is the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch

from .geometry import Box
from .model import Channel, Model
from .resampling import coarse_axis, resample_image, resampled_shape
from .volume import Volume

_EPSILON = 1e-8  # nnU-Net's least standard deviation

Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """A volume on the model's grid.

    Attributes:
        array: `(C, Z, Y, X)` float32, normalised.
        crop: the box of the oriented volume `(Z, Y, X)` that `array` covers.
        source_spacing: mm along z, y, x of the oriented volume.
        spacing: mm along z, y, x of `array`.
    """

    array: np.ndarray
    crop: Box
    source_spacing: Spacing
    spacing: Spacing

    @property
    def cropped_shape(self) -> tuple[int, int, int]:
        """`(Z, Y, X)` of the crop in voxels of the oriented volume."""
        z, y, x = (side.stop - side.start for side in self.crop)
        return z, y, x


def preprocess(volume: Volume, model: Model) -> Preprocessed:
    """Bring a volume onto the model's grid and into its range of intensities.

    Channel by channel, so that no more than one channel exists twice.

    Args:
        volume: already in the model's orientation, with the model's channels.
        model: says spacing, normalisation and the order of the two.
    """
    source_spacing = _array_order(volume.geometry.spacing)
    spacing = model.spacing or source_spacing
    if model.network.dimensions == 2:
        spacing = (source_spacing[0], *spacing[1:])  # nnU-Net never resamples across the slices of a 2D model
    nonzero = nonzero_mask(volume.array)
    crop = bounding_box(nonzero)
    nonzero = nonzero[crop]
    if any(channel.normalization == "zscore_masked" for channel in model.channels):
        nonzero = fill_holes(nonzero)
    shape = resampled_shape(nonzero.shape, source_spacing, spacing)
    separate = coarse_axis(source_spacing, spacing)
    result = np.empty((len(model.channels), *shape), dtype=np.float32)
    for index, channel in enumerate(model.channels):
        image = np.array(volume.array[index][crop], dtype=np.float32, order="C")
        if model.pipeline == "nnunet_v2":
            normalize(image, channel, nonzero)
            result[index] = _resampled(image, shape, separate, order=3)
        else:
            result[index] = _resampled(image, shape, separate, order=3)
            del image
            mask = _resampled_mask(nonzero, shape, separate, channel)
            normalize(result[index], channel, mask)
    return Preprocessed(result, crop, source_spacing, spacing)


def nonzero_mask(array: np.ndarray) -> np.ndarray:
    """Where any channel of `(C, Z, Y, X)` is not zero."""
    mask = array[0] != 0
    for channel in array[1:]:
        mask |= channel != 0
    return mask


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box with everything that is true in `(Z, Y, X)`; the whole if nothing is."""
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        sides.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, mask.shape[axis]))
    z, y, x = sides
    return z, y, x


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask `(Z, Y, X)` with every hole filled that no path of faces connects to the outside."""
    filled = sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)), fullyConnected=False)
    return sitk.GetArrayFromImage(filled).astype(bool)


def normalize(image: np.ndarray, channel: Channel, mask: np.ndarray) -> None:
    """Normalise one channel in place, as its training did.

    Args:
        image: float32 `(Z, Y, X)`.
        channel: says how.
        mask: `(Z, Y, X)`, true within the patient; only for "zscore_masked".
    """
    if channel.normalization == "ct":
        assert channel.mean is not None and channel.std is not None  # Channel.read sees to it
        np.clip(image, channel.lower, channel.upper, out=image)
        _standardize(image, channel.mean, channel.std)
    elif channel.normalization == "zscore":
        _standardize(image, image.mean(), image.std())
    elif channel.normalization == "zscore_masked":
        inside = image[mask]
        _standardize(image, inside.mean(), inside.std())
        image[~mask] = 0
    elif channel.normalization == "rescale":
        lowest = image.min()
        _standardize(image, lowest, image.max() - lowest)


def _standardize(image: np.ndarray, mean: float, std: float) -> None:
    image -= np.float32(mean)
    image /= np.float32(max(std, _EPSILON))


def _resampled(
    image: np.ndarray, shape: tuple[int, int, int], separate: int | None, order: int
) -> np.ndarray:
    return resample_image(torch.from_numpy(image), shape, separate, order).numpy()


def _resampled_mask(
    mask: np.ndarray, shape: tuple[int, int, int], separate: int | None, channel: Channel
) -> np.ndarray:
    if channel.normalization != "zscore_masked":
        return mask
    return _resampled(mask.astype(np.float32), shape, separate, order=1) >= 0.5


def _array_order(spacing: Spacing) -> Spacing:
    x, y, z = spacing
    return z, y, x
