"""nnU-Net v1's inference, written down once more with numpy, scipy and scikit-image.

nnU-Net v1 cannot be installed beside today's packages. This follows the MedNeXt reference step by step,
without any regard to memory or time. In its `nnunet_mednext`: `preprocessing/preprocessing.py`,
`network_architecture/neural_network.py` and `inference/segmentation_export.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch
from mednext.bundle import Bundle, Channel, Model
from mednext.volume import Volume
from scipy.ndimage import binary_fill_holes, gaussian_filter, map_coordinates
from skimage.transform import resize

Array = np.ndarray


def preprocess_by_v1(volume: Volume, model: Model) -> tuple[Array, tuple[slice, ...]]:
    """The preprocessed image `(C, Z, Y, X)` and the box of the volume that it was cropped to."""
    spacing = np.array(volume.geometry.spacing[::-1])
    mask = binary_fill_holes((volume.array != 0).any(axis=0))
    voxels = np.argwhere(mask)
    box = tuple(slice(a, b + 1) for a, b in zip(voxels.min(axis=0), voxels.max(axis=0), strict=True))
    data, mask = volume.array[(slice(None), *box)].astype(np.float32), mask[box]
    target = np.array(model.spacing)
    shape = np.round(spacing / target * np.array(mask.shape)).astype(int)
    if tuple(shape) != mask.shape:
        data = np.stack([_resample(channel, shape, spacing, target, 3) for channel in data])
        mask = _resample(mask.astype(float), shape, spacing, target, 1) >= 0.5
    normalized = [
        _normalize(image, channel, mask) for image, channel in zip(data, model.channels, strict=True)
    ]
    return np.stack(normalized).astype(np.float32), box


def segment_by_v1(volume: Volume, bundle: Bundle, mirroring: bool) -> Array:
    """Labels `(Z, Y, X)` of a volume in the model's orientation."""
    model = bundle.model
    image, box = preprocess_by_v1(volume, model)
    axes = model.mirror_axes if mirroring else ()
    folds = [_predict_3d(image, _probabilities(bundle, fold.index, axes), model) for fold in model.folds]
    probabilities = np.mean(folds, axis=0)
    spacing = np.array(volume.geometry.spacing[::-1])
    cropped = tuple(side.stop - side.start for side in box)
    if probabilities.shape[1:] != cropped:
        target = np.array(model.spacing)
        probabilities = np.stack(
            [_resample(channel, np.array(cropped), spacing, target, 1) for channel in probabilities]
        )
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    labels[box] = _decide(probabilities, model)
    return labels


def _normalize(image: Array, channel: Channel, mask: Array) -> Array:
    if channel.normalization == "ct":
        return (np.clip(image, channel.lower, channel.upper) - channel.mean) / channel.std
    if channel.normalization == "zscore_masked":
        result = np.zeros_like(image)
        result[mask] = (image[mask] - image[mask].mean()) / (image[mask].std() + 1e-8)
        return result
    assert channel.normalization == "zscore"
    return (image - image.mean()) / (image.std() + 1e-8)


def _resample(image: Array, shape: Array, source: Array, target: Array, order: int) -> Array:
    """One channel; `source` and `target` are the spacings (mm) of the volume and of the model."""
    image = image.astype(float)
    for spacing in (source, target):
        if spacing.max() / spacing.min() > 3:
            coarse = np.flatnonzero(spacing == spacing.max())
            if len(coarse) == 1:
                return _resample_slices(image, shape, int(coarse[0]), order)
            break
    return resize(image, shape, order, mode="edge", anti_aliasing=False).astype(np.float32)


def _resample_slices(image: Array, shape: Array, axis: int, order: int) -> Array:
    plane = np.delete(shape, axis)
    slices = [
        resize(part, plane, order, mode="edge", anti_aliasing=False) for part in np.moveaxis(image, axis, 0)
    ]
    stack = np.stack(slices, axis)
    scale = np.array(stack.shape) / shape
    grid = np.mgrid[tuple(slice(0, side) for side in shape)]
    positions = scale[:, None, None, None] * (grid + 0.5) - 0.5
    return map_coordinates(stack, positions, order=0, mode="nearest").astype(np.float32)


def _probabilities(bundle: Bundle, fold: int, mirror_axes: Sequence[int]) -> Callable[[Array], Array]:
    network = bundle.network(fold)
    flips = [axes for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]

    def predict(tile: Array) -> Array:
        total = np.zeros((bundle.model.network.num_classes, *tile.shape[1:]), dtype=np.float32)
        for axes in flips:
            flipped = np.flip(tile, [axis + 1 for axis in axes]).copy()
            with torch.no_grad():
                logits = network(torch.from_numpy(flipped)[None])[0]
            answer = logits.softmax(0) if bundle.model.output == "softmax" else logits.sigmoid()
            total += np.flip(answer.numpy(), [axis + 1 for axis in axes]) / len(flips)
        return total

    return predict


def _predict_3d(image: Array, predict: Callable[[Array], Array], model: Model) -> Array:
    missing = [max(0, side - length) for side, length in zip(model.patch, image.shape[1:], strict=True)]
    padding = [(n // 2, n // 2 + n % 2) for n in missing]
    padded = np.pad(image, [(0, 0), *padding])
    steps = [
        _steps(length, side, model.step) for length, side in zip(padded.shape[1:], model.patch, strict=True)
    ]
    tiles = [(z, y, x) for z in steps[0] for y in steps[1] for x in steps[2]]
    weight = _gaussian(model.patch) if len(tiles) > 1 else np.ones(model.patch, dtype=np.float32)
    total = np.zeros((model.network.num_classes, *padded.shape[1:]), dtype=np.float32)
    weights = np.zeros(padded.shape[1:], dtype=np.float32)
    for corner in tiles:
        place = tuple(slice(start, start + side) for start, side in zip(corner, model.patch, strict=True))
        total[(slice(None), *place)] += predict(padded[(slice(None), *place)]) * weight
        weights[place] += weight
    kept = tuple(
        slice(before, before + length) for (before, _), length in zip(padding, image.shape[1:], strict=True)
    )
    return (total / weights)[(slice(None), *kept)]


def _gaussian(patch: Sequence[int]) -> Array:
    delta = np.zeros(patch)
    delta[tuple(side // 2 for side in patch)] = 1
    weight = gaussian_filter(delta, [side / 8 for side in patch], 0, mode="constant", cval=0)
    weight = (weight / weight.max()).astype(np.float32)
    weight[weight == 0] = weight[weight != 0].min()
    return weight


def _steps(length: int, side: int, step: float) -> list[int]:
    count = int(np.ceil((length - side) / (side * step))) + 1
    distance = (length - side) / (count - 1) if count > 1 else 0.0
    return [int(np.round(distance * index)) for index in range(count)]


def _decide(probabilities: Array, model: Model) -> Array:
    if model.output == "softmax":
        return probabilities.argmax(axis=0)
    labels = np.zeros(probabilities.shape[1:], dtype=np.uint8)
    for channel, value in zip(probabilities, model.regions_class_order, strict=True):
        labels[channel > 0.5] = value
    return labels
