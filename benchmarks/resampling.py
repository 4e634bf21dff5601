"""Both resampling steps: a CT to the model's grid, and logits of fourteen classes back to labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch
from mednext.inference.postprocessing import LabelWriter
from mednext.inference.resampling import native as native_resampling
from mednext.inference.resampling.matrices import axis_weights, resample_image, resampled_shape
from mednext.inference.sliding_window import Block
from mednext.library.model_by_name import load_bundle
from mednext.network.native_library import Kernels

from . import Settings
from .interleaved import median_seconds
from .report import compared, table

SPACING = (1.5, 0.8, 0.8)  # mm, of the CT; the model's is 1 mm
CLASSES = 14
ROWS = 64  # of logits at a time: half a patch
BASELINE = "nnU-Net (scikit-image)"

Shape = tuple[int, int, int]
Result = TypeVar("Result")


def measure(settings: Settings) -> str:
    """Two tables for a CT, with the largest difference from torch."""
    return tables(settings.pick((12, 20, 20), (100, 192, 192), (300, 512, 512)), settings.rounds)


def tables(shape: Shape, rounds: int) -> str:
    """Two tables for a CT of `shape` voxels `(Z, Y, X)`."""
    model_shape = resampled_shape(shape, SPACING, (1.0, 1.0, 1.0))
    paths: dict[str, Kernels | None] = {"torch": None}
    kernels = native_resampling.resampling_kernels()
    if kernels is not None:
        paths[f"native, {kernels.name}"] = kernels
    with torch.inference_mode():
        return _image(shape, model_shape, paths, rounds) + "\n" + _labels(shape, model_shape, paths, rounds)


def _image(shape: Shape, model_shape: Shape, paths: dict[str, Kernels | None], rounds: int) -> str:
    image = _smooth(1, shape)[0] * 1000
    array = image.numpy()[None]
    ways: dict[str, Callable[[], object]] = {BASELINE: lambda: _nnunet(array, model_shape, order=3)[0]}
    for name, kernels in paths.items():
        ways[name] = _by(kernels, lambda: resample_image(image, model_shape, None))
    exact = np.asarray(ways["torch"]())
    rows = compared(median_seconds(ways, rounds), BASELINE)
    for way, row in zip(ways.values(), rows, strict=True):
        difference = float(np.abs(np.asarray(way()) - exact).max() / np.ptp(array))
        row["difference from torch, of the range of intensities"] = difference
    return table(f"To the model's grid, cubic, {_sides(shape)} to {_sides(model_shape)} voxels", rows)


def _labels(shape: Shape, model_shape: Shape, paths: dict[str, Kernels | None], rounds: int) -> str:
    logits = _smooth(CLASSES, model_shape)
    array = logits.numpy()
    ways: dict[str, Callable[[], np.ndarray]] = {
        BASELINE: lambda: _nnunet(array, shape, order=1).argmax(axis=0).astype(np.uint8)
    }
    for name, kernels in paths.items():
        ways[name] = _by(kernels, lambda: _written(logits, shape))
    exact = ways["torch"]()
    rows = compared(median_seconds(ways, rounds), BASELINE)
    for way, row in zip(ways.values(), rows, strict=True):
        row[f"labels that differ from torch's, of {exact.size}"] = int((way() != exact).sum())
    title = f"{CLASSES} classes of logits to labels, {_sides(model_shape)} to {_sides(shape)} voxels"
    return table(title, rows)


def _by(kernels: Kernels | None, work: Callable[[], Result]) -> Callable[[], Result]:
    def run() -> Result:
        with patch.object(native_resampling, "resampling_kernels", lambda: kernels):
            return work()

    return run


def _smooth(channels: int, shape: Shape) -> torch.Tensor:
    """Random numbers that vary over eight voxels or so."""
    coarse = torch.randn(1, channels, *(max(2, side // 8) for side in shape))
    return 5 * torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0]


def _written(logits: torch.Tensor, shape: Shape) -> np.ndarray:
    model = load_bundle("hippocampus").model
    model = replace(model, network=replace(model.network, num_classes=CLASSES))
    labels = np.empty(shape, np.uint8)
    weights = [axis_weights(old, new, 1) for old, new in zip(logits.shape[1:], shape, strict=True)]
    writer = LabelWriter(model, weights, labels)
    for start in range(0, logits.shape[1], ROWS):
        first = max(0, start - 1)
        writer.add(Block(first, 0, logits[:, first : start + ROWS]))
    return labels


def _nnunet(array: np.ndarray, shape: Shape, order: int) -> np.ndarray:
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

    return resample_data_or_seg(array, shape, order=order)


def _sides(shape: Shape) -> str:
    return "×".join(map(str, shape))
