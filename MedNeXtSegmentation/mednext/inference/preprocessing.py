"""From a volume to the network's input: crop to the non-zero box, resample, normalise.

The two pipelines differ in the order of the last two steps: `nnunet_v1` resamples first, `nnunet_v2`
normalises first. Everything else is the same in both.

The box and the holes are found on the CPU, which has the voxels, mostly by a look at the outermost planes.
The rest is computed on the device of the networks, and stays there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..images.geometry import Box
from ..images.volume import Volume
from ..model.description import Channel, Model
from ..system.devices import is_out_of_memory
from ..system.memory_settings import give_memory_back
from .device_transfer import to_float32
from .field_of_view import FieldOfView
from .progress import Progress
from .resampling.matrices import coarse_axis, resample_image, resampled_shape
from .run import Run

_EPSILON = 1e-8  # nnU-Net's least standard deviation
# Size of the parts that are normalised: on a CPU they stay in the caches, a card wants more work at once.
_SLAB_BYTES, _SLAB_BYTES_OF_A_DEVICE = 2**21, 2**26

CPU = torch.device("cpu")
DEVICES = ("cuda",)  # that preprocess beside the CPU; Apple's have no float64

Spacing = tuple[float, float, float]


@dataclass(eq=False)
class Preprocessed:
    """A volume on the model's grid.

    Attributes:
        array: `(C, Z, Y, X)` float32, normalised, on the CPU or a device.
        crop: the box of the oriented volume `(Z, Y, X)` that `array` covers.
        source_spacing: mm along z, y, x of the oriented volume.
        spacing: mm along z, y, x of `array`.
    """

    array: Tensor
    crop: Box
    source_spacing: Spacing
    spacing: Spacing

    @property
    def cropped_shape(self) -> tuple[int, int, int]:
        """`(Z, Y, X)` of the crop in voxels of the oriented volume."""
        z, y, x = (side.stop - side.start for side in self.crop)
        return z, y, x

    def move_to_cpu(self) -> None:
        """Keep the array in the computer's memory from now on, so that a device can free its own."""
        self.array = self.array.cpu()


def preprocess_for(run: Run, volume: Volume, seen: FieldOfView, device: torch.device) -> Preprocessed:
    """The part of a volume that the model gets, on its grid, made by a card with enough memory or the CPU."""
    part = Volume(seen.view(volume.array), seen.oriented, volume.names)
    run.progress(Progress("preprocessing", 0, 1))
    image = _preprocess_there(run, part, device) if device.type in DEVICES else None
    if image is None:
        image = preprocess(part, run.model)
    run.progress(Progress("preprocessing", 1, 1))
    return image


def _preprocess_there(run: Run, volume: Volume, device: torch.device) -> Preprocessed | None:
    """None, and a remark, if the memory of the device runs out."""
    try:
        return preprocess(volume, run.model, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    run.remark_full_memory(device, device, "preprocessing")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def preprocess(volume: Volume, model: Model, device: torch.device = CPU) -> Preprocessed:
    """Bring a volume onto the model's grid and into its range of intensities.

    Channel by channel, so that no more than one channel exists twice.

    Args:
        volume: already in the model's orientation, with the model's channels.
        model: gives spacing, normalisation and the order of the two.
        device: where it is done, and the result stays; it must support float64.

    Raises:
        RuntimeError: the device's memory ran out (`devices.is_out_of_memory`).
    """
    source_spacing = _array_order(volume.geometry.spacing)
    spacing = model.spacing or source_spacing
    if model.network.dimensions == 2:
        spacing = (source_spacing[0], *spacing[1:])  # nnU-Net never resamples across the slices of a 2D model
    crop = nonzero_box(volume.array)
    voxels = volume.array[(slice(None), *crop)]
    nonzero = _patient(voxels, model, device)
    shape = resampled_shape(voxels.shape[1:], source_spacing, spacing)
    separate = coarse_axis(source_spacing, spacing)
    result = torch.empty((len(voxels), *shape), device=device)  # first: no hole stays below it in the heap
    for index, channel in enumerate(model.channels):
        # No other reference keeps the image, so its memory is freed while it is resampled.
        result[index] = resample_image(
            _before_resampling(voxels[index], device, model, channel, nonzero), shape, separate
        )
        if model.pipeline == "nnunet_v1":
            normalize(result[index], channel, _resampled_mask(nonzero, shape, separate, channel))
    return Preprocessed(result, crop, source_spacing, spacing)


def _before_resampling(
    array: np.ndarray, device: torch.device, model: Model, channel: Channel, mask: Tensor | None
) -> Tensor:
    image = to_float32(array, device)
    if model.pipeline == "nnunet_v2":
        normalize(image, channel, mask)
    return image


def nonzero_box(array: np.ndarray) -> Box:
    """The smallest box of `(C, Z, Y, X)` with all that is not zero in any channel; the whole if all is zero.

    It is searched from the outside, since most images have little to cut away.
    """
    box = [slice(0, side) for side in array.shape[1:]]
    for axis in range(3):
        begin = _zero_planes(array[(slice(None), *box)], axis + 1)
        if begin == array.shape[axis + 1]:
            break  # all voxels are zero, as the first axis shows
        end = _zero_planes(np.flip(array[(slice(None), *box)], axis + 1), axis + 1)
        box[axis] = slice(begin, array.shape[axis + 1] - end)
    z, y, x = box
    return z, y, x


def _zero_planes(array: np.ndarray, axis: int) -> int:
    """How many planes at the beginning of an axis of `(C, Z, Y, X)` hold nothing but zeros."""
    planes = np.moveaxis(array, axis, 0)
    begin, count = 0, 1
    while begin < len(planes):
        hit = (planes[begin : begin + count] != 0).any(axis=(1, 2, 3))
        if hit.any():
            return begin + int(hit.argmax())
        begin, count = begin + count, 2 * count
    return len(planes)


def _patient(voxels: np.ndarray, model: Model, device: torch.device) -> Tensor | None:
    """Where any channel is not zero, with its holes filled; None where no normalisation asks for it."""
    if all(channel.normalization != "zscore_masked" for channel in model.channels):
        return None
    mask = voxels[0] != 0
    for channel in voxels[1:]:
        mask |= channel != 0
    filled = fill_holes(mask)
    give_memory_back()
    return torch.from_numpy(filled).to(device)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask `(Z, Y, X)` with every hole filled that no path of faces connects to the outside."""
    # ITK's own filter for this takes seconds where the patient has many small holes.
    components = sitk.ConnectedComponent(sitk.GetImageFromArray((~mask).view(np.uint8)), False)
    numbers = sitk.GetArrayViewFromImage(components)  # 0 within the mask
    outside = np.zeros(int(numbers.max()) + 1, dtype=bool)
    for axis in range(3):
        for face in (0, -1):
            outside[numbers.take(face, axis)] = True
    outside[0] = False
    filled = np.empty(mask.shape, dtype=bool)
    for plane, of_plane in zip(filled, numbers, strict=True):  # numpy makes 64 bits of every index
        plane[...] = ~outside[of_plane]
    return filled


def normalize(image: Tensor, channel: Channel, mask: Tensor | None) -> None:
    """Normalise one channel in place, as its training did.

    Args:
        image: float32 `(Z, Y, X)`, on any device that supports float64.
        channel: gives the normalisation.
        mask: bool `(Z, Y, X)`, true within the patient; only for "zscore_masked".
    """
    if channel.normalization == "ct":
        assert channel.mean is not None and channel.std is not None  # Channel.read sees to it
        for slab in _slabs(image):
            slab.clamp_(channel.lower, channel.upper)
            _standardize(slab, channel.mean, channel.std)
    elif channel.normalization == "zscore":
        _standardize(image, *_mean_and_deviation(image, image.numel()))
    elif channel.normalization == "zscore_masked":
        assert mask is not None
        outside = ~mask
        image.masked_fill_(outside, 0)  # where nothing is added to the sums
        _standardize(image, *_mean_and_deviation(image, int(torch.count_nonzero(mask))))
        image.masked_fill_(outside, 0)
    elif channel.normalization == "rescale":
        lowest, highest = (float(value) for value in torch.aminmax(image))
        _standardize(image, lowest, highest - lowest)


def _mean_and_deviation(image: Tensor, count: int) -> tuple[float, float]:
    """Of `count` voxels; all others must be zero. By sums in float64, whose order does not matter then."""
    sums = torch.zeros(2, dtype=torch.float64, device=image.device)
    for slab in _slabs(image):
        values = slab.double().flatten()
        sums += torch.stack([values.sum(), values.dot(values)])
    mean, square = (sums.cpu() / count).tolist()
    return mean, math.sqrt(max(0.0, square - mean**2))


def _standardize(image: Tensor, mean: float, deviation: float) -> None:
    for slab in _slabs(image):
        slab.sub_(mean).div_(max(deviation, _EPSILON))


def _slabs(image: Tensor) -> Iterator[Tensor]:
    """An image in slabs of planes, as views."""
    room = _SLAB_BYTES if image.device.type == "cpu" else _SLAB_BYTES_OF_A_DEVICE
    yield from image.split(max(1, room * len(image) // image.nbytes))


def _resampled_mask(
    mask: Tensor | None, shape: tuple[int, int, int], separate: int | None, channel: Channel
) -> Tensor | None:
    if mask is None or channel.normalization != "zscore_masked":
        return None
    return resample_image(mask.float(), shape, separate, order=1) >= 0.5


def _array_order(spacing: Spacing) -> Spacing:
    x, y, z = spacing
    return z, y, x
